//! The token rules of all channels, from the configuration's tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use wharf_config::{ChannelToken, Config, TokenConfig, table_key};
use wharf_runtime::ports::{HttpClient, TokenVerifier, TokenVerifiers, UnusableKeys};

use super::TokenRules;
use super::source::KeySource;

/// The rules for tokens, by channel.
#[derive(Debug)]
pub struct ChannelTokenRules {
    config: Arc<Config>,
    /// Rules of the channels that have a table of their own, by the table's name.
    own: BTreeMap<String, Option<Arc<TokenRules>>>,
    /// Rules for all other channels.
    others: Option<Arc<TokenRules>>,
    /// Places of all their keys, each once.
    sources: Vec<Arc<KeySource>>,
}

impl ChannelTokenRules {
    /// Makes the rules of all tables. Their files and addresses are not read before
    /// [`follow`](ChannelTokenRules::follow).
    pub fn new(config: Arc<Config>) -> ChannelTokenRules {
        let mut sources = Vec::new();
        let mut rules = |token: &Arc<TokenConfig>, table: &str| {
            Arc::new(TokenRules::new(token.clone(), table, &mut sources))
        };
        let others = config.token.as_ref().map(|token| rules(token, "token"));
        let mut own = BTreeMap::new();
        for (name, channel) in &config.channels {
            match &channel.token {
                ChannelToken::Inherited => {}
                ChannelToken::Off => drop(own.insert(name.clone(), None)),
                ChannelToken::Own(token) => {
                    let table = format!("channels.{}.token", table_key(name));
                    drop(own.insert(name.clone(), Some(rules(token, &table))));
                }
            }
        }
        ChannelTokenRules { config, own, others, sources }
    }

    /// Begins to read files and addresses, and goes on for as long as these rules are there. Must be
    /// called within the runtime.
    pub fn follow(&self, http: &Arc<dyn HttpClient>) {
        self.sources.iter().for_each(|source| source.follow(http));
    }
}

impl TokenVerifiers for ChannelTokenRules {
    fn of_channel(&self, channel: &str) -> Option<Arc<dyn TokenVerifier>> {
        let own = self.own.iter().find(|(table, _)| self.config.is_table_of(table, channel));
        let rules = own.map_or_else(|| self.others.clone(), |(_, rules)| rules.clone());
        rules.map(|rules| rules as Arc<dyn TokenVerifier>)
    }

    fn unusable_keys(&self) -> Vec<UnusableKeys> {
        let unusable = self.sources.iter().filter_map(|source| {
            let state = source.state();
            let reason = state.problem.clone()?;
            let (tables, place) = (source.tables(), source.place());
            Some(UnusableKeys { tables, place, reason, has_earlier: state.keys.is_some() })
        });
        unusable.collect()
    }
}

//! The token rules of all channels, from the configuration's tables.

use std::collections::BTreeMap;
use std::sync::Arc;

use wharf_config::{ChannelToken, Config, TokenConfig};
use wharf_runtime::ports::{TokenVerifier, TokenVerifiers};

use super::{KeyError, TokenRules};

/// The rules for tokens, by channel.
#[derive(Debug)]
pub struct ChannelTokenRules {
    config: Arc<Config>,
    /// Rules of the channels that have a table of their own, by the table's name.
    own: BTreeMap<String, Option<Arc<TokenRules>>>,
    /// Rules for all other channels.
    others: Option<Arc<TokenRules>>,
}

impl ChannelTokenRules {
    /// Reads the keys of all tables.
    ///
    /// # Errors
    ///
    /// A key's file cannot be used.
    pub fn new(config: Arc<Config>) -> Result<ChannelTokenRules, KeyError> {
        let rules = |token: &Arc<TokenConfig>| TokenRules::new(token.clone()).map(Arc::new);
        let mut own = BTreeMap::new();
        for (name, channel) in &config.channels {
            match &channel.token {
                ChannelToken::Inherited => {}
                ChannelToken::Off => drop(own.insert(name.clone(), None)),
                ChannelToken::Own(token) => drop(own.insert(name.clone(), Some(rules(token)?))),
            }
        }
        let others = config.token.as_ref().map(rules).transpose()?;
        Ok(ChannelTokenRules { config, own, others })
    }
}

impl TokenVerifiers for ChannelTokenRules {
    fn of_channel(&self, channel: &str) -> Option<Arc<dyn TokenVerifier>> {
        let own = self.own.iter().find(|(table, _)| self.config.is_table_of(table, channel));
        let rules = own.map_or_else(|| self.others.clone(), |(_, rules)| rules.clone());
        rules.map(|rules| rules as Arc<dyn TokenVerifier>)
    }
}

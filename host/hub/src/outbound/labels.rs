//! The labels of a connection, for broadcasts to some members only.

/// Labels of one connection; never changed, only replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Labels(Vec<Label>);

/// A name and a value.
pub type Label = (Box<str>, Box<str>);

impl Labels {
    /// Returns the labels in the order in which their names were first set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (&**name, &**value))
    }

    /// Returns the number of labels.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns true if there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the value of a label.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.iter().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// Sets a label, in place of one of the same name.
    pub fn set(&mut self, name: &str, value: &str) {
        match self.0.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, current)) => *current = value.into(),
            None => self.0.push((name.into(), value.into())),
        }
    }

    /// Removes a label, if it is there.
    pub fn clear(&mut self, name: &str) {
        self.0.retain(|(known, _)| &**known != name);
    }

    /// Returns true if all of these are among them.
    pub fn have(&self, wanted: &[Label]) -> bool {
        wanted.iter().all(|(name, value)| self.get(name) == Some(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    proptest! {
        #[test]
        fn labels_are_a_map_from_names_to_values(
            steps in proptest::collection::vec((0..4u8, any::<Option<u8>>()), 0..40),
        ) {
            let mut labels = Labels::default();
            let mut model = BTreeMap::new();
            for (name, value) in steps {
                let name = name.to_string();
                match value {
                    Some(value) => {
                        labels.set(&name, &value.to_string());
                        model.insert(name, value.to_string());
                    }
                    None => {
                        labels.clear(&name);
                        model.remove(&name);
                    }
                }
                let all: BTreeMap<_, _> =
                    labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect();
                prop_assert_eq!(&all, &model);
                prop_assert_eq!(labels.len(), model.len(), "no name is there twice");
                let wanted: Vec<Label> =
                    model.iter().map(|(n, v)| (n.as_str().into(), v.as_str().into())).collect();
                prop_assert!(labels.have(&wanted));
                prop_assert!(!labels.have(&[("0".into(), "no number".into())]));
            }
        }
    }
}

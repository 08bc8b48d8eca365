//! The kind of a list of certificates: a table for each in a file, text elsewhere.

use figment::value::{Dict, Value};

use super::Kind;
use crate::CertificateFiles;

/// Certificates with their keys. A single one may be written without a list.
pub(crate) struct Certificates;

impl Kind for Certificates {
    type Value = Vec<CertificateFiles>;

    fn read(&self, given: &Value) -> Option<Vec<CertificateFiles>> {
        match given {
            Value::Dict(_, table) => Some(vec![of_table(table)?]),
            Value::Array(_, items) => items.iter().map(|item| of_table(item.as_dict()?)).collect(),
            _ => {
                let items = given.as_str()?.split(',').map(str::trim);
                items.filter(|item| !item.is_empty()).map(CertificateFiles::parse).collect()
            }
        }
    }

    fn show(&self, value: &Vec<CertificateFiles>) -> toml::Value {
        let table = |files: &CertificateFiles| {
            let text =
                |path: &std::path::Path| toml::Value::from(path.to_string_lossy().into_owned());
            let pairs = [("certificate", &files.certificate), ("key", &files.key)];
            let pairs = pairs.map(|(key, path)| (key.to_owned(), text(path)));
            toml::Value::Table(pairs.into_iter().collect())
        };
        match value.as_slice() {
            [single] => table(single),
            several => toml::Value::Array(several.iter().map(table).collect()),
        }
    }

    fn allowed(&self) -> String {
        "`{ certificate = \"FILE\", key = \"FILE\" }`, or a list of such; in a flag or variable \
         `CERTIFICATE:KEY`"
            .to_owned()
    }

    fn metavar(&self) -> &'static str {
        "CERTIFICATE:KEY,…"
    }

    fn is_list(&self) -> bool {
        true
    }
}

fn of_table(table: &Dict) -> Option<CertificateFiles> {
    let text = |key| table.get(key).and_then(Value::as_str);
    // A mistyped key must not be ignored.
    (table.len() == 2).then(|| CertificateFiles::of(text("certificate")?, text("key")?)).flatten()
}

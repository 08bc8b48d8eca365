//! Requests of one node to others, which each of them answers: questions and commands of an operator, and the steps of
//! a deployment.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// A request to the operator's API, for the receiver's own part of the answer.
    Operator(OperatorRequest),
    /// A step of a deployment.
    Deploy(Step),
}

/// A request to the operator's API. The operator's token was checked by the node that sends it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorRequest {
    /// The path, as it came.
    pub path: String,
    /// The query, as it came.
    #[serde(default)]
    pub query: Option<String>,
    /// The body of a command; `None` for a question.
    #[serde(default, with = "optional_bytes")]
    pub body: Option<Bytes>,
}

/// A step of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// The receiver is to try code, and to hold it ready. Asked again, it tells the state of the trial.
    Try(Try),
    /// The receiver is to forget code that it holds ready.
    Forget {
        /// Number of the deployment.
        deploy: u64,
    },
    /// The table of deployed code has changed. The receiver answers once it runs the channel as the table says.
    Look {
        /// Number of the table.
        number: u64,
        /// The channel.
        channel: String,
    },
}

/// Code to try.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Number of the deployment, chosen at random.
    pub deploy: u64,
    /// The channel.
    pub channel: String,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
    /// Size of the file.
    pub bytes: u64,
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// The answer of the operator's API.
    Operator {
        /// The status.
        status: u16,
        /// The body: JSON.
        #[serde(with = "bytes_of")]
        body: Bytes,
    },
    /// The answer to a step of a deployment.
    Deploy(Report),
}

/// The answer to a step of a deployment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// The code is being fetched, compiled or tried.
    Trying,
    /// The code is fit, and ready to serve.
    Ready,
    /// The code is not fit.
    Refused {
        /// The reason, for people.
        reason: String,
    },
    /// The node tries code of another deployment.
    Busy,
    /// The code is forgotten.
    Forgotten,
    /// The node has looked at the table.
    Looked {
        /// Number of the table that it has seen.
        number: u64,
        /// Number of the generation that serves the channel; `None` if none does.
        generation: Option<u64>,
        /// The reason for which the node does not run the channel as the table says.
        reason: Option<String>,
    },
}

/// Bytes as MessagePack has them, and not as a list of numbers.
mod bytes_of {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(bytes: &Bytes, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Bytes, D::Error> {
        <&[u8]>::deserialize(from).map(Bytes::copy_from_slice)
    }
}

/// Such bytes, or nothing.
mod optional_bytes {
    use bytes::Bytes;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        bytes: &Option<Bytes>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match bytes {
            Some(bytes) => to.serialize_bytes(bytes),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Bytes>, D::Error> {
        let bytes = <Option<&[u8]>>::deserialize(from)?;
        Ok(bytes.map(Bytes::copy_from_slice))
    }
}

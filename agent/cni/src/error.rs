//! The error object of the CNI specification (section 5, "Error").

use serde_json::json;

/// Version to answer with where the configuration did not tell one.
pub const DEFAULT_VERSION: &str = "1.0.0";

/// Which entry of the specification's table of codes an error has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// A `CNI_*` variable is missing or wrong.
    Environment = 4,
    /// JSON that cannot be decoded.
    Decode = 6,
    /// A configuration that cannot be used.
    Config = 7,
    /// The agent cannot be reached now; the runtime should try again.
    TryAgain = 11,
    /// STATUS: pods cannot be added now.
    NotAvailable = 50,
    /// The agent refused or failed.
    Agent = 100,
}

/// One failure of one command.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
#[error("{msg}")]
pub struct CniError {
    /// The code of the table.
    pub code: Code,
    /// What is wrong, and what to do.
    pub msg: String,
    /// More, where there is more to say.
    pub details: String,
    /// The `cniVersion` of the configuration.
    pub version: String,
}

impl CniError {
    /// An error with this code.
    pub fn new(code: Code, msg: impl Into<String>) -> Self {
        Self {
            code,
            msg: msg.into(),
            details: String::new(),
            version: DEFAULT_VERSION.into(),
        }
    }

    /// JSON that cannot be decoded.
    pub fn decode(msg: impl Into<String>) -> Self {
        Self::new(Code::Decode, msg)
    }

    /// The same error, answered in the version of the configuration.
    pub fn in_version(mut self, version: &str) -> Self {
        self.version = version.to_owned();
        self
    }

    /// The same error with details.
    pub fn with_details(mut self, details: impl Into<String>) -> Self {
        self.details = details.into();
        self
    }

    /// The object that goes to stdout.
    pub fn to_json(&self) -> String {
        let mut object =
            json!({ "cniVersion": self.version, "code": self.code as u32, "msg": self.msg });
        if !self.details.is_empty() {
            object["details"] = json!(self.details);
        }
        object.to_string()
    }
}

//! The one option that says which database, read into what the two keepers need.

use std::path::PathBuf;

use crate::error::{Error, Result};

/// A database, by the scheme of its URL.
#[derive(Clone, PartialEq, Eq)]
pub enum DatabaseUrl {
    /// `postgres://…` or `postgresql://…`, as libpq writes it. May hold a password.
    Postgres(String),
    /// `sqlite:path`, `sqlite://path` or `file:path`; the file is created when missing.
    Sqlite(PathBuf),
}

impl DatabaseUrl {
    /// Reads the `databaseUrl` option. An error names the scheme and never the rest.
    pub fn parse(url: &str) -> Result<Self> {
        let url = url.trim();
        let (scheme, rest) = url.split_once(':').ok_or_else(|| {
            Error::option("databaseUrl", "has no scheme; use sqlite: or postgres://")
        })?;
        match scheme.to_ascii_lowercase().as_str() {
            "postgres" | "postgresql" if rest.starts_with("//") => {
                Ok(Self::Postgres(url.to_owned()))
            }
            "sqlite" | "file" => {
                let path = rest.strip_prefix("//").unwrap_or(rest);
                let path = path.split_once('?').map_or(path, |(path, _)| path);
                match path {
                    "" => Err(Error::option("databaseUrl", "names no file after sqlite:")),
                    ":memory:" => Err(Error::option(
                        "databaseUrl",
                        "sqlite::memory: cannot be shared with other processes; name a file",
                    )),
                    path => Ok(Self::Sqlite(PathBuf::from(path))),
                }
            }
            _ => Err(Error::option(
                "databaseUrl",
                format!("scheme {scheme:?} is not known; use sqlite:<file> or postgres://…"),
            )),
        }
    }
}

/// Hides the password: a URL in a log or a panic must not give it away.
impl std::fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Postgres(_) => f.write_str("Postgres(…)"),
            Self::Sqlite(path) => f.debug_tuple("Sqlite").field(path).finish(),
        }
    }
}

//! Reads a `postgres://` URL as hosts write them.
//!
//! Hosting panels, Prisma and node-postgres put parameters into the URL that libpq and sqlx do not
//! know. Those that only tune another client are dropped; those that change where we would look
//! are refused, because dropping them would quietly work on other tables.

use std::str::FromStr;

use sqlx::postgres::PgConnectOptions;

use crate::error::{Error, Result};

/// The port on which Supabase serves its transaction-mode pooler.
const SUPABASE_POOLER_PORT: u16 = 6543;

const UNREADABLE: &str = "cannot be read as postgres://user:password@host:port/database; is everything \
     percent-encoded, the port a number, and sslmode one of disable, allow, prefer, require, verify-ca \
     and verify-full?";

/// Where to connect, and what the URL says about what stands in between.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) options: PgConnectOptions,
    /// The URL itself says that a transaction-mode pooler is in between.
    pub(super) pooler: bool,
}

impl Target {
    /// Never puts the URL into an error: it may hold a password.
    pub(super) fn parse(url: &str) -> Result<Self> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let mut kept = Vec::new();
        let mut pooler = false;
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let on = matches!(value, "true" | "1" | "on" | "yes");
            match key {
                "pgbouncer" => pooler |= on,
                "ssl" => kept.push(if on { "sslmode=require" } else { "sslmode=disable" }.into()),
                // node-postgres's word for what libpq calls `require`.
                "sslmode" if value == "no-verify" => kept.push("sslmode=require".into()),
                "schema" if value != "public" => {
                    return Err(Error::option(
                        "databaseUrl",
                        "schema=… is Prisma's; write options=-csearch_path%3D<schema>, \
                         or set the role's search_path",
                    ));
                }
                _ if known(key) => kept.push(pair.to_owned()),
                _ => {}
            }
        }
        let url = if kept.is_empty() { base.into() } else { format!("{base}?{}", kept.join("&")) };
        // Not in sqlx's words: those repeat a value, and in a malformed URL that may be anything.
        let options = PgConnectOptions::from_str(&url)
            .map_err(|_| Error::option("databaseUrl", UNREADABLE))?
            // PgBouncer refuses start-up parameters that it does not know, and this is one.
            .extra_float_digits(None);
        let options = match options.get_application_name() {
            Some(_) => options,
            None => options.application_name("baileys-guard"),
        };
        pooler |= options.get_port() == SUPABASE_POOLER_PORT;
        Ok(Self { options, pooler })
    }
}

/// What sqlx reads. Anything else it would log with its value, which may be a secret.
fn known(key: &str) -> bool {
    key.starts_with("options[")
        || matches!(
            key,
            "sslmode"
                | "ssl-mode"
                | "sslrootcert"
                | "ssl-root-cert"
                | "ssl-ca"
                | "sslcert"
                | "ssl-cert"
                | "sslkey"
                | "ssl-key"
                | "host"
                | "hostaddr"
                | "port"
                | "dbname"
                | "user"
                | "password"
                | "application_name"
                | "options"
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use sqlx::postgres::PgSslMode;

    fn target(url: &str) -> Target {
        Target::parse(url).unwrap()
    }

    #[test]
    fn parameters_of_other_clients_do_not_get_in_the_way() {
        let t = target(
            "postgres://u:p@db.example:5432/app?schema=public&connection_limit=5&pool_timeout=0\
             &sslaccept=strict&supa=base-pooler.x&uselibpqcompat=true&sslmode=require",
        );
        assert_eq!(t.options.get_host(), "db.example");
        assert_eq!(t.options.get_database(), Some("app"));
        assert!(matches!(t.options.get_ssl_mode(), PgSslMode::Require));
        assert!(!t.pooler);
    }

    #[test]
    fn a_pooler_that_the_url_names_is_believed() {
        assert!(target("postgres://u@h/app?pgbouncer=true").pooler);
        assert!(target("postgres://u@h:6543/app").pooler);
        assert!(!target("postgres://u@h/app?pgbouncer=false").pooler);
    }

    #[test]
    fn other_words_for_tls_are_understood() {
        let mode = |url| target(url).options.get_ssl_mode();
        assert!(matches!(mode("postgres://u@h/app?ssl=true"), PgSslMode::Require));
        assert!(matches!(mode("postgres://u@h/app?sslmode=no-verify"), PgSslMode::Require));
        assert!(matches!(mode("postgres://u@h/app"), PgSslMode::Prefer));
    }

    #[test]
    fn another_schema_is_refused_rather_than_ignored() {
        let error = Target::parse("postgres://u:hush@h/app?schema=other").err().unwrap();
        assert_eq!(error.code(), "ERR_INVALID_OPTION");
    }

    #[test]
    fn an_unreadable_url_does_not_show_its_password() {
        for url in ["postgres://u:hush@h:port/app", "postgres://u:hush@h/app?sslmode=hush2"] {
            let error = Target::parse(url).err().unwrap();
            assert!(!error.to_string().contains("hush@"), "{error}");
            assert_eq!(error.code(), "ERR_INVALID_OPTION");
        }
    }
}

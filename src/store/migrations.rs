//! The files of `migrations/`, compiled in. They have the same names for both databases.

/// One file, and the one that takes back what it added.
pub(super) struct Migration {
    pub(super) name: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
}

macro_rules! migration {
    ($database:literal, $name:literal) => {
        Migration {
            name: concat!($name, ".sql"),
            up: include_str!(concat!("../../migrations/", $database, "/", $name, ".sql")),
            down: include_str!(concat!(
                "../../migrations/",
                $database,
                "/rollback/",
                $name,
                ".sql"
            )),
        }
    };
}

/// In the order in which they are applied. Add new ones at the end.
macro_rules! migrations {
    ($database:literal) => {
        &[
            migration!($database, "008_add_instance_tracking"),
            migration!($database, "009_add_leases"),
            migration!($database, "010_rate_limits"),
            migration!($database, "011_add_auth_state"),
            migration!($database, "012_add_reconnects"),
        ]
    };
}

pub(super) const POSTGRES: &[Migration] = migrations!("postgres");
pub(super) const SQLITE: &[Migration] = migrations!("sqlite");

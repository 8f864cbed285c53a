//! What must hold whatever a host has left in `whatsapp_sessions`. SQLite stores any value in any
//! column, so this is done on a file of its own. Used by the fuzzing target and, on its seeds, by the
//! tests of the library.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use baileys_guard::error::Error;
use baileys_guard::store::{
    DatabaseUrl, Fence, HostColumn, Registration, Session, SessionFilter, SessionUpdate, Store,
    StoreOptions, Written, open,
};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection};

/// Declarations that SQLite treats differently: text and dates as most hosts have them, numbers,
/// and none, which keeps every value as it is.
const DECLARED: [[&str; 3]; 17] = [
    ["id", "TEXT", "BIGINT"],
    ["agent_id", "TEXT", "INTEGER"],
    ["user_id", "TEXT", "INTEGER"],
    ["phone_number", "VARCHAR(15)", "INTEGER"],
    ["session_data", "JSON", "TEXT"],
    ["is_active", "BOOLEAN", "INTEGER"],
    ["status", "VARCHAR(50)", "INTEGER"],
    ["qr_code", "TEXT", "TEXT"],
    ["qr_generated_at", "TIMESTAMP", "INTEGER"],
    ["instance_id", "VARCHAR(255)", "INTEGER"],
    ["instance_hostname", "VARCHAR(255)", "REAL"],
    ["instance_pid", "INTEGER", "REAL"],
    ["instance_started_at", "TIMESTAMP", "INTEGER"],
    ["last_heartbeat", "TIMESTAMP", "INTEGER"],
    ["last_connected", "TIMESTAMP", "INTEGER"],
    ["created_at", "TIMESTAMP", "INTEGER"],
    ["updated_at", "TEXT", "REAL"],
];

const SOUND: &str = "sound";
const SOUND_AT_MS: i64 = 1_706_169_600_000;

const NUMBERS: [i64; 12] = [
    0,
    1,
    -1,
    2,
    7,
    i32::MAX as i64 + 1,
    i64::MAX,
    i64::MIN,
    1 << 53,
    SOUND_AT_MS,
    1_706_169_600,
    -1,
];
const REALS: [f64; 8] = [0.0, -0.0, 7.5, 1e300, -1e300, f64::INFINITY, f64::NEG_INFINITY, 8.64e15];
const TEXTS: [&[u8]; 24] = [
    b"",
    b"a",
    b"7",
    b" 007 ",
    b"1e999",
    b"yes",
    b"true",
    b"connected",
    b"conflict",
    b"CONNECTED\n",
    b"2024-01-25T08:00:00.000Z",
    b"2024-01-25 08:00:00+05:30",
    b"9999-12-31 23:59:59.999999",
    b"-4713-11-24",
    b"infinity",
    b"now",
    b"24:00:60",
    b"a\0b",
    b"a\xffb",
    b"\xed\xa0\x80",
    b"{\"creds\":{\"v\":1}}",
    b"[[[[[[",
    b"'; DROP TABLE baileys_guard_lease; --",
    b"\xc2\xa07",
];

/// One value of any type.
enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(Vec<u8>),
    Blob(Vec<u8>),
}

/// Values from bytes; NULL where there are no more.
struct Values<'a>(&'a [u8]);

impl Values<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut taken = [0; N];
        let length = N.min(self.0.len());
        taken[..length].copy_from_slice(&self.0[..length]);
        self.0 = &self.0[length..];
        taken
    }

    fn bytes(&mut self) -> Vec<u8> {
        let [length] = self.take();
        let (taken, rest) = self.0.split_at(usize::from(length).min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    fn next(&mut self) -> Value {
        let [kind, which] = self.take();
        let which = usize::from(which);
        match kind % 10 {
            0 => Value::Null,
            1 => Value::Integer(NUMBERS[which % NUMBERS.len()]),
            2 => Value::Integer(i64::from_le_bytes(self.take())),
            3 => Value::Real(REALS[which % REALS.len()]),
            4 => Value::Real(f64::from_le_bytes(self.take())),
            5 | 6 => Value::Text(TEXTS[which % TEXTS.len()].to_vec()),
            7 => Value::Blob(TEXTS[which % TEXTS.len()].to_vec()),
            8 => Value::Text(self.bytes()),
            _ => Value::Text(self.bytes().repeat(which * 4)),
        }
    }
}

/// A host's file and one instance that works on it.
pub struct Host {
    store: Arc<dyn Store>,
    host: SqliteConnection,
    me: Registration,
    seq: i64,
}

impl Host {
    /// One for each way to declare the columns.
    pub async fn all(folder: &Path) -> [Self; 3] {
        let at = |number| Self::new(folder.join(format!("host-{number}.db")), number);
        [at(0).await, at(1).await, at(2).await]
    }

    async fn new(file: std::path::PathBuf, declared: usize) -> Self {
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let options = options.journal_mode(SqliteJournalMode::Wal);
        let mut host = options.synchronous(SqliteSynchronous::Off).connect().await.unwrap();
        let columns =
            DECLARED.map(|[name, text, number]| [name, ["", text, number][declared]].join(" "));
        let create = format!("CREATE TABLE whatsapp_sessions ({})", columns.join(", "));
        sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut host).await.unwrap();
        let store = open(StoreOptions {
            url: DatabaseUrl::Sqlite(file),
            max_connections: 1,
            call_timeout: Duration::from_secs(20),
        });
        let store = store.unwrap();
        store.migrate().await.unwrap();
        let me = Registration {
            incarnation: "incarnation".to_owned(),
            instance_id: "instance".to_owned(),
            hostname: "host".to_owned(),
            pid: 1,
            ttl: Duration::from_secs(60),
            boot_id: None,
            lock_dir: None,
        };
        store.register(&me).await.unwrap();
        Self { store, host, me, seq: 0 }
    }

    /// Rows of the host's, made of `data` but for a sound one, through all that reads them.
    pub async fn check(&mut self, data: &[u8]) {
        self.fill(data).await;
        self.store.migrate().await.expect("a migration reads the rows, too");
        self.store.diagnose().await.expect("a diagnosis");
        let sessions = self.sessions(None).await;
        self.sound(&sessions);
        let mut names: Vec<_> = sessions.iter().map(|session| &session.agent_id).collect();
        names.retain(|name| !name.contains(char::REPLACEMENT_CHARACTER));
        let named = names.len();
        names.dedup();
        assert_eq!(names.len(), named, "an agent is listed twice");
        let active = self.sessions(Some(true)).await;
        assert_eq!(active.len() + self.sessions(Some(false)).await.len(), sessions.len());

        let orphans = self.orphans().await;
        let in_conflict = active.iter().filter(|s| s.status.as_deref() == Some("conflict"));
        assert_eq!(orphans.len() + in_conflict.count(), active.len());
        assert!(orphans.iter().any(|agent| agent == SOUND), "a sound session is to be resumed");
        self.data(data.len()).await;
        for agent in orphans.iter().take(2) {
            self.live(agent).await;
        }
        self.sound(&self.sessions(None).await);
    }

    async fn fill(&mut self, data: &[u8]) {
        let mut tx = self.host.begin().await.unwrap();
        let empty = "DELETE FROM whatsapp_sessions; DELETE FROM baileys_guard_lease";
        sqlx::raw_sql(empty).execute(&mut *tx).await.unwrap();
        let mut values = Values(data);
        while !values.0.is_empty() {
            let row = DECLARED.map(|_| values.next());
            let slots = row.each_ref().map(|value| match value {
                Value::Text(_) => "CAST(? AS TEXT)",
                _ => "?",
            });
            let insert = format!("INSERT INTO whatsapp_sessions VALUES ({})", slots.join(", "));
            let mut insert = sqlx::query(AssertSqlSafe(insert));
            for value in row {
                insert = match value {
                    Value::Null => insert.bind(None::<i64>),
                    Value::Integer(number) => insert.bind(number),
                    Value::Real(number) => insert.bind(number),
                    Value::Text(bytes) | Value::Blob(bytes) => insert.bind(bytes),
                };
            }
            insert.execute(&mut *tx).await.unwrap();
        }
        let sound = format!(
            "DELETE FROM whatsapp_sessions WHERE CAST(agent_id AS TEXT) = '{SOUND}';
             INSERT INTO whatsapp_sessions (id, agent_id, is_active, status, last_connected)
             VALUES (1, '{SOUND}', 1, 'connected', '2024-01-25T08:00:00.000Z')"
        );
        sqlx::raw_sql(AssertSqlSafe(sound)).execute(&mut *tx).await.unwrap();
        tx.commit().await.unwrap();
    }

    async fn sessions(&self, active: Option<bool>) -> Vec<Session> {
        let filter = SessionFilter { active, mine: None };
        self.store.sessions(&self.me.incarnation, filter).await.expect("a list")
    }

    async fn orphans(&self) -> Vec<String> {
        let found = self.store.orphans(&self.me.incarnation, &[], u32::MAX).await.expect("orphans");
        assert_eq!(
            (found.agents.len(), found.should_run),
            (found.orphans, found.orphans + found.mine)
        );
        found.agents
    }

    /// The sound row is shown as it is, whatever stands beside it.
    fn sound(&self, sessions: &[Session]) {
        let found: Vec<_> = sessions.iter().filter(|s| s.agent_id == SOUND).collect();
        let [sound] = found[..] else { panic!("{} sound rows", found.len()) };
        assert_eq!((&sound.user_id, &sound.owner), (&None, &None));
        assert_eq!(sound.last_connected_ms, Some(SOUND_AT_MS));
    }

    /// Every row with `session_data` is seen once, and can be replaced where it is text.
    async fn data(&self, seed: usize) {
        let mut after = String::new();
        let mut seen = Vec::new();
        loop {
            let limit = 1 + seed as i64 % 3;
            let rows = self.store.session_data(HostColumn::SessionData, &after, limit).await;
            let rows = rows.expect("data");
            let Some(last) = rows.last() else { break };
            after = last.row_id.clone();
            seen.extend(rows);
        }
        let mut ids: Vec<_> = seen.iter().map(|row| &row.row_id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), seen.len(), "a row is seen twice");
        for row in &seen {
            let swapped = self.store.session_data_swap(row, &row.json).await.expect("a swap");
            assert!(swapped || row.json.is_empty(), "{row:?}");
        }
    }

    /// The whole life of a claim on one agent, as the resumer would begin it.
    async fn live(&mut self, agent: &str) {
        let id = match self.store.canonical_agent(agent).await {
            Ok(id) => id,
            Err(error) => {
                assert!(
                    matches!(error, Error::InvalidArgument { name: "agentId", .. }),
                    "{error:?}"
                );
                return;
            }
        };
        self.seq += 1;
        let one = [id.clone()];
        let claimed =
            self.store.claim(&self.me.incarnation, self.seq, &one).await.expect("a claim");
        let [grant] = &claimed.grants[..] else { panic!("{agent:?} as {id:?}: {claimed:?}") };
        self.store.show(&self.me, &one, Some("7")).await.expect("it has a row");
        assert!(self.store.refresh_sessions(&self.me).await.expect("a refresh").is_empty());
        let fence = Fence {
            incarnation: self.me.incarnation.clone(),
            agent_id: id.clone(),
            token: grant.token,
        };
        let update = SessionUpdate {
            status: Some("connected".to_owned()),
            last_connected_ms: Some(Some(SOUND_AT_MS)),
            ..SessionUpdate::default()
        };
        let written = self.store.update_session(&fence, &update).await.expect("an update");
        assert_eq!(written, Written::Done, "{agent:?}");
        let mine = SessionFilter { active: Some(true), mine: Some(true) };
        let mine = self.store.sessions(&self.me.incarnation, mine).await.expect("a list");
        let [session] = &mine[..] else { panic!("{agent:?} as {id:?}: {mine:?}") };
        assert_eq!((&session.agent_id, session.status.as_deref()), (&id, Some("connected")));
        assert_eq!(session.last_connected_ms, Some(SOUND_AT_MS));
        for column in HostColumn::ALL {
            self.store.session_data_of(column, &id).await.expect("what its row keeps");
        }
        let released = self.store.release(&[fence], true).await.expect("a release");
        assert_eq!(released, one);
        assert!(!self.orphans().await.contains(&id), "{agent:?} was ended");
    }
}

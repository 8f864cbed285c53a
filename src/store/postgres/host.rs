//! The host's `whatsapp_sessions`: what its columns are, and the statements made for them.
//!
//! Hosts have the agent id as uuid, text or varchar, and times with or without a zone. Parameters
//! are cast to the column's type, never the column to ours, so that its index is used. A column
//! without zone holds UTC, whatever the server's or the session's time zone.

use sqlx::Row;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::connection::Sql;
use crate::error::{Error, Result};
use crate::store::HostColumn;

/// Every column with its type, as it is written in SQL, the most characters it takes, and whether it
/// takes different text for equal. Without the -1 a `char(36)` would be named `character`, and a cast
/// to that leaves one character.
pub(super) const COLUMNS: &str = "SELECT a.attname AS name, format_type(a.atttypid, -1) AS type,
       CASE WHEN a.atttypid IN ('varchar'::regtype, 'bpchar'::regtype) AND a.atttypmod > 4
            THEN a.atttypmod - 4 END AS length,
       EXISTS (SELECT 1 FROM pg_type t WHERE t.oid = a.atttypid AND t.typname = 'citext')
       OR EXISTS (SELECT 1 FROM pg_collation c WHERE c.oid = a.attcollation AND NOT c.collisdeterministic)
         AS loose
  FROM pg_attribute a
 WHERE a.attrelid = to_regclass('whatsapp_sessions') AND a.attnum > 0 AND NOT a.attisdropped";

/// Statements on the host's table, made for its columns.
#[derive(Debug)]
pub(super) struct HostTable {
    agent_type: String,
    agent_length: Option<i32>,
    user_type: String,
    /// `$1` an agent → as the column gives it back.
    pub(super) canonical: Sql,
    pub(super) show: Sql,
    pub(super) insert: Sql,
    pub(super) refresh: Sql,
    pub(super) update: Sql,
    pub(super) release: Sql,
    pub(super) deactivate: Sql,
    pub(super) clear: Sql,
    pub(super) list: Sql,
    has_session_state: bool,
}

impl HostTable {
    /// Reads the answer to [`COLUMNS`].
    pub(super) fn from_columns(rows: &[PgRow]) -> Result<Self> {
        let column = |name: &str| rows.iter().find(|row| row.get::<&str, _>("name") == name);
        let type_of = |name: &str| column(name).map(|row| row.get::<String, _>("type"));
        let types = ["agent_id", "user_id", "status", "phone_number", "instance_id"].map(type_of);
        let [Some(agent), Some(user), Some(status), Some(phone), Some(_)] = &types else {
            return Err(Error::MigrationRequired);
        };
        if column("agent_id").is_some_and(|row| row.get("loose")) {
            return Err(Error::loose_agents());
        }
        let time = |name: &str, value: &str| match type_of(name).as_deref() {
            Some("timestamp with time zone") => value.to_owned(),
            _ => format!("({value} AT TIME ZONE 'utc')"),
        };
        let agent_length = column("agent_id").and_then(|row| row.get::<Option<i32>, _>("length"));
        let has_session_state = type_of("session_state").is_some_and(|kind| {
            ["json", "jsonb", "text", "character varying"].contains(&kind.as_str())
        });
        let statements = Statements { agent, user, status, phone, time: &time };
        Ok(statements.table(agent_length, has_session_state))
    }

    /// The agent id as the column gives it back; `None` where only the database knows.
    pub(super) fn canonical_agent(&self, agent_id: &str) -> Result<Option<String>> {
        match (self.agent_type.as_str(), self.agent_length) {
            ("uuid", _) => match Uuid::try_parse(agent_id) {
                Ok(id) => Ok(Some(id.to_string())),
                Err(_) => Err(self.not_an_agent()),
            },
            ("character varying" | "bpchar", Some(max))
                if agent_id.chars().count() > max as usize =>
            {
                Err(Error::argument(
                    "agentId",
                    format!("is longer than the {max} characters of whatsapp_sessions.agent_id"),
                ))
            }
            ("text" | "character varying", _) => Ok(Some(agent_id.to_owned())),
            _ => Ok(None),
        }
    }

    /// Whether the table has the column, and in a type that can hold JSON.
    pub(super) fn has(&self, column: HostColumn) -> bool {
        column == HostColumn::SessionData || self.has_session_state
    }

    /// `$1` an agent → what its newest row keeps in the column.
    pub(super) fn session_data(&self, column: HostColumn) -> Sql {
        Sql::assembled(format!(
            "SELECT n.id::text AS row_id, n.agent_id::text AS agent_id, n.{column}::text AS json
               FROM (SELECT * FROM whatsapp_sessions s WHERE s.agent_id = $1::text::{agent}
                      ORDER BY s.created_at DESC NULLS LAST, s.id DESC LIMIT 1) n
              WHERE n.{column} IS NOT NULL",
            agent = self.agent_type,
            column = column.name(),
        ))
    }

    /// The agent is no value of the column's type.
    pub(super) fn not_an_agent(&self) -> Error {
        let kind = &self.agent_type;
        Error::argument("agentId", format!("must be a {kind}: whatsapp_sessions.agent_id is one"))
    }

    /// The user is no value of the column's type.
    pub(super) fn not_a_user(&self) -> Error {
        let kind = &self.user_type;
        Error::argument("userId", format!("must be a {kind}: whatsapp_sessions.user_id is one"))
    }
}

struct Statements<'a> {
    agent: &'a str,
    user: &'a str,
    status: &'a str,
    phone: &'a str,
    /// A moment as the column of that name takes it.
    time: &'a dyn Fn(&str, &str) -> String,
}

impl Statements<'_> {
    fn table(&self, agent_length: Option<i32>, has_session_state: bool) -> HostTable {
        HostTable {
            agent_type: self.agent.to_owned(),
            agent_length,
            user_type: self.user.to_owned(),
            canonical: Sql::assembled(format!("SELECT $1::text::{}::text AS agent_id", self.agent)),
            show: Sql::assembled(self.show()),
            insert: Sql::assembled(self.insert()),
            refresh: Sql::assembled(self.refresh()),
            update: Sql::assembled(self.update()),
            release: Sql::assembled(self.release(false)),
            deactivate: Sql::assembled(self.release(true)),
            clear: Sql::assembled(self.clear()),
            list: Sql::assembled(self.list()),
            has_session_state,
        }
    }

    fn now(&self, column: &str) -> String {
        (self.time)(column, "clock_timestamp()")
    }

    /// CTE `newest(id, agent_id)`: of each agent in `source` the row that shows it.
    fn newest(&self, source: &str) -> String {
        let agent = self.agent;
        format!(
            "newest AS (
               SELECT DISTINCT ON (s.agent_id) s.id, s.agent_id::text AS agent_id
                 FROM {source} JOIN whatsapp_sessions s ON s.agent_id = source.agent_id::{agent}
                ORDER BY s.agent_id, s.created_at DESC NULLS LAST, s.id DESC)"
        )
    }

    /// CTE `locked(id)`: those rows of `newest` that nobody else is holding, in order.
    fn locked() -> &'static str {
        "locked AS (
           SELECT s.id FROM whatsapp_sessions s JOIN newest n ON n.id = s.id
            ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED)"
    }

    /// The instance columns for the incarnation `$1` with the public name `$2`, host `$3`, pid `$4`.
    fn owner_columns(&self) -> String {
        format!(
            "instance_id = $2::text, instance_hostname = $3::text, instance_pid = $4::int,
             instance_started_at = (SELECT {} FROM baileys_guard_instance i WHERE i.incarnation = $1),
             last_heartbeat = {}",
            (self.time)("instance_started_at", "i.started_at"),
            self.now("last_heartbeat"),
        )
    }

    /// `$5` agents → those without a row. One that was lost meanwhile is its new owner's to show.
    fn show(&self) -> String {
        format!(
            "WITH source AS (
               SELECT l.agent_id FROM unnest($5::text[]) AS a (agent_id) JOIN baileys_guard_lease l USING (agent_id)
                WHERE l.incarnation = $1 AND l.held),
             {newest}, {locked},
             shown AS (UPDATE whatsapp_sessions s SET {owner} FROM locked WHERE s.id = locked.id)
             SELECT source.agent_id FROM source
              WHERE NOT EXISTS (SELECT 1 FROM newest n WHERE n.agent_id = source.agent_id)
              ORDER BY source.agent_id",
            newest = self.newest("source"),
            locked = Self::locked(),
            owner = self.owner_columns(),
        )
    }

    /// `$5` agents without a row, `$6` user.
    fn insert(&self) -> String {
        format!(
            "INSERT INTO whatsapp_sessions
               (agent_id, user_id, instance_id, instance_hostname, instance_pid, instance_started_at,
                last_heartbeat, is_active, status)
             SELECT a.agent_id::{agent}, $6::text::{user}, $2::text, $3::text, $4::int,
                    (SELECT {started} FROM baileys_guard_instance i WHERE i.incarnation = $1),
                    {now}, false, 'disconnected'
               FROM unnest($5::text[]) AS a (agent_id) ORDER BY a.agent_id",
            agent = self.agent,
            user = self.user,
            started = (self.time)("instance_started_at", "i.started_at"),
            now = self.now("last_heartbeat"),
        )
    }

    /// → held agents without a row.
    fn refresh(&self) -> String {
        format!(
            "WITH source AS (
               SELECT l.agent_id FROM baileys_guard_lease l WHERE l.incarnation = $1 AND l.held),
             {newest}, {locked},
             shown AS (UPDATE whatsapp_sessions s SET {owner} FROM locked WHERE s.id = locked.id)
             SELECT source.agent_id FROM source
              WHERE NOT EXISTS (SELECT 1 FROM newest n WHERE n.agent_id = source.agent_id)",
            newest = self.newest("source"),
            locked = Self::locked(),
            owner = self.owner_columns(),
        )
    }

    /// `$4 …` pairs of (whether to write, what).
    fn update(&self) -> String {
        let epoch = "('epoch'::timestamptz + $13::bigint * interval '1 millisecond')";
        format!(
            "{fence}
             newest AS (
               SELECT s.id FROM whatsapp_sessions s
                WHERE s.agent_id = $1::text::{agent} AND EXISTS (SELECT 1 FROM fence)
                ORDER BY s.created_at DESC NULLS LAST, s.id DESC LIMIT 1),
             written AS (
               UPDATE whatsapp_sessions s SET
                 status = CASE WHEN $4::bool THEN $5::text::{status} ELSE s.status END,
                 phone_number = CASE WHEN $6::bool THEN $7::text::{phone} ELSE s.phone_number END,
                 qr_code = CASE WHEN $8::bool THEN $9::text ELSE s.qr_code END,
                 qr_generated_at =
                   CASE WHEN $8::bool AND $9::text IS NOT NULL THEN {qr} ELSE s.qr_generated_at END,
                 is_active = CASE WHEN $10::bool THEN $11::bool ELSE s.is_active END,
                 last_connected = CASE WHEN $12::bool THEN {connected} ELSE s.last_connected END,
                 updated_at = {updated}
               FROM newest WHERE s.id = newest.id RETURNING 1)
             SELECT (SELECT count(*) FROM fence) AS fenced, (SELECT count(*) FROM written) AS written",
            fence = fenced!(""),
            agent = self.agent,
            status = self.status,
            phone = self.phone,
            qr = self.now("qr_generated_at"),
            connected = (self.time)("last_connected", epoch),
            updated = self.now("updated_at"),
        )
    }

    /// `$1` agents, `$2` incarnations, `$3` tokens → agents released. Lease and row go together.
    /// To deactivate waits for the row; only to clear what it shows does not.
    fn release(&self, deactivate: bool) -> String {
        let (skip, also) = if deactivate {
            ("", ", is_active = false, status = 'disconnected'")
        } else {
            ("SKIP LOCKED", "")
        };
        format!(
            "WITH given AS (
               SELECT * FROM unnest($1::text[], $2::text[], $3::bigint[]) AS g (agent_id, incarnation, token)),
             source AS (
               SELECT l.agent_id, set_config('lock_timeout', '3s', true) AS bounded
                 FROM baileys_guard_lease l JOIN given g
                   ON (g.agent_id, g.incarnation, g.token) = (l.agent_id, l.incarnation, l.token)
                WHERE l.held ORDER BY l.agent_id FOR NO KEY UPDATE OF l),
             freed AS (
               UPDATE baileys_guard_lease l SET held = false FROM source
                WHERE l.agent_id = source.agent_id RETURNING l.agent_id),
             {newest},
             locked AS (
               SELECT s.id FROM whatsapp_sessions s JOIN newest n ON n.id = s.id
                ORDER BY s.id FOR NO KEY UPDATE OF s {skip}),
             cleared AS (
               UPDATE whatsapp_sessions s SET instance_id = NULL, instance_hostname = NULL,
                      instance_pid = NULL, instance_started_at = NULL, last_heartbeat = NULL{also}
                 FROM locked WHERE s.id = locked.id)
             SELECT f.agent_id, (SELECT pg_notify('baileys_guard', 'released'))::text FROM freed f",
            newest = self.newest("source"),
        )
    }

    /// `$1` a dead incarnation: clears what its rows show, unless somebody else shows there now.
    fn clear(&self) -> String {
        format!(
            "WITH source AS (
               SELECT l.agent_id FROM baileys_guard_lease l WHERE l.incarnation = $1 AND l.held),
             {newest}, {locked}
             UPDATE whatsapp_sessions s SET instance_id = NULL, instance_hostname = NULL,
                    instance_pid = NULL, instance_started_at = NULL, last_heartbeat = NULL
               FROM locked WHERE s.id = locked.id",
            newest = self.newest("source"),
            locked = Self::locked(),
        )
    }

    /// `$1` the asking incarnation, `$2` only active or not, `$3` only mine or not.
    fn list(&self) -> String {
        "WITH newest AS (
           SELECT DISTINCT ON (s.agent_id) s.* FROM whatsapp_sessions s
            WHERE s.agent_id IS NOT NULL
            ORDER BY s.agent_id, s.created_at DESC NULLS LAST, s.id DESC)
         SELECT s.agent_id::text AS agent_id, s.user_id::text AS user_id,
                s.phone_number::text AS phone_number, s.status::text AS status,
                coalesce(s.is_active, false) AS is_active,
                CASE WHEN isfinite(s.last_connected) THEN (extract(epoch FROM s.last_connected) * 1000)::bigint END AS last_connected_ms,
                CASE WHEN isfinite(s.updated_at) THEN (extract(epoch FROM s.updated_at) * 1000)::bigint END AS updated_at_ms,
                o.*, coalesce(o.incarnation = $1, false) AS mine
           FROM newest s
           LEFT JOIN LATERAL (
             SELECT l.token, i.incarnation, i.instance_id, i.hostname, i.pid,
                    (extract(epoch FROM i.beat_at) * 1000)::bigint AS beat_at_ms,
                    (extract(epoch FROM clock_timestamp() - i.beat_at) * 1000)::bigint AS beat_age_ms
               FROM baileys_guard_lease l JOIN baileys_guard_instance i USING (incarnation)
              WHERE l.agent_id = s.agent_id::text AND l.held AND i.dead_at IS NULL) o ON true
          WHERE coalesce(s.is_active, false) = coalesce($2, coalesce(s.is_active, false))
            AND coalesce(o.incarnation = $1, false) = coalesce($3, coalesce(o.incarnation = $1, false))
          ORDER BY 1"
            .to_owned()
    }
}

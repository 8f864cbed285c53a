//! Why a connection ended, out of the little that Baileys tells: a code and a message.

/// What is known of an end. JavaScript takes it out of `lastDisconnect` or an error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    /// Status code of the error: Baileys' `DisconnectReason`.
    pub code: Option<u16>,
    /// Message of the error, and the system's code (`ECONNRESET`) where it has one.
    pub text: String,
    /// Code of an error of this library.
    pub guard_code: Option<String>,
    /// `ClaimLostError.reason`.
    pub loss: Option<String>,
    /// There was no error: the socket's own user ended it.
    pub ended: bool,
    /// The end was found by this library; its name for it.
    pub found: Option<Found>,
}

/// Ends that no event tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Neither `connected` nor `disconnected` within `connectTimeoutMs`.
    ConnectTimeout,
    /// The user's `connect` threw or rejected.
    ConnectFailed,
    /// The HTTP upgrade was refused; the code is HTTP's.
    UpgradeRefused,
    /// The socket says open and is not, or has been silent for too long.
    SocketDead,
}

/// Why a connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table in docs/reconnect.md says it")]
pub enum Reason {
    LoggedOut,
    Refused,
    Forbidden,
    ClientOutdated,
    Locked,
    ConnectionLost,
    QrExpired,
    TryLater,
    RateLimited,
    MultideviceMismatch,
    ConnectionClosed,
    ConnectionReplaced,
    BadSession,
    BadMac,
    UnavailableService,
    RestartRequired,
    Network,
    Unknown,
    Ended,
    UpgradeRefused,
    ConnectTimeout,
    ConnectFailed,
    SocketDead,
    InUse,
    ClaimTaken,
    ClaimExpired,
    ClaimGone,
    ClaimReleased,
    DatabaseUnavailable,
}

/// Every reason, in the order of the documentation.
pub const ALL: [Reason; 29] = {
    use Reason::*;
    [
        LoggedOut,
        Refused,
        Forbidden,
        ClientOutdated,
        Locked,
        ConnectionLost,
        QrExpired,
        TryLater,
        RateLimited,
        MultideviceMismatch,
        ConnectionClosed,
        ConnectionReplaced,
        BadSession,
        BadMac,
        UnavailableService,
        RestartRequired,
        Network,
        Unknown,
        Ended,
        UpgradeRefused,
        ConnectTimeout,
        ConnectFailed,
        SocketDead,
        InUse,
        ClaimTaken,
        ClaimExpired,
        ClaimGone,
        ClaimReleased,
        DatabaseUnavailable,
    ]
};

/// What a message holds when the network, and not WhatsApp, ended the connection.
const NETWORK_SIGNS: [&str; 15] = [
    "ECONNRESET",
    "ECONNREFUSED",
    "ECONNABORTED",
    "ENOTFOUND",
    "ETIMEDOUT",
    "ENETUNREACH",
    "ENETDOWN",
    "EHOSTUNREACH",
    "EHOSTDOWN",
    "EAI_AGAIN",
    "EPIPE",
    "EPROTO",
    "socket hang up",
    "timed out",
    "network",
];

impl Reason {
    /// The reason behind these facts.
    pub fn of(facts: &Facts) -> Self {
        let text = facts.text.as_str();
        if let Some(reason) = facts.guard_code.as_deref().and_then(|code| of_guard(code, facts)) {
            return reason;
        }
        // An HTTP status is not a code of WhatsApp's: a 401 of some proxy logs nobody out.
        if facts.found == Some(Found::UpgradeRefused) || text.contains("Unexpected server response")
        {
            return if facts.code == Some(429) { Self::RateLimited } else { Self::UpgradeRefused };
        }
        if facts.found == Some(Found::ConnectTimeout) {
            return Self::ConnectTimeout;
        }
        if facts.found == Some(Found::SocketDead) {
            return Self::SocketDead;
        }
        match facts.code {
            Some(408) if text.contains("QR refs attempts ended") => Self::QrExpired,
            Some(401) => Self::LoggedOut,
            Some(402) => Self::Refused,
            Some(403) => Self::Forbidden,
            Some(405) => Self::ClientOutdated,
            Some(406) => Self::Locked,
            Some(408) if has_network_sign(text) => Self::Network,
            Some(408) => Self::ConnectionLost,
            Some(409 | 412) => Self::TryLater,
            Some(429) => Self::RateLimited,
            Some(411) => Self::MultideviceMismatch,
            Some(428) => Self::ConnectionClosed,
            Some(440) => Self::ConnectionReplaced,
            Some(503) => Self::UnavailableService,
            Some(515) => Self::RestartRequired,
            _ if text.contains("Bad MAC") => Self::BadMac,
            Some(500) if has_network_sign(text) => Self::Network,
            Some(500) => Self::BadSession,
            Some(_) => Self::Unknown,
            None if facts.ended => Self::Ended,
            None if has_network_sign(text) => Self::Network,
            None if facts.found == Some(Found::ConnectFailed) => Self::ConnectFailed,
            None => Self::Unknown,
        }
    }

    /// The name users see; Baileys' own where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LoggedOut => "loggedOut",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::ClientOutdated => "clientOutdated",
            Self::Locked => "locked",
            Self::ConnectionLost => "connectionLost",
            Self::QrExpired => "qrExpired",
            Self::TryLater => "tryLater",
            Self::RateLimited => "rateLimited",
            Self::MultideviceMismatch => "multideviceMismatch",
            Self::ConnectionClosed => "connectionClosed",
            Self::ConnectionReplaced => "connectionReplaced",
            Self::BadSession => "badSession",
            Self::BadMac => "badMac",
            Self::UnavailableService => "unavailableService",
            Self::RestartRequired => "restartRequired",
            Self::Network => "network",
            Self::Unknown => "unknown",
            Self::Ended => "ended",
            Self::UpgradeRefused => "upgradeRefused",
            Self::ConnectTimeout => "connectTimeout",
            Self::ConnectFailed => "connectFailed",
            Self::SocketDead => "socketDead",
            Self::InUse => "inUse",
            Self::ClaimTaken => "claimTaken",
            Self::ClaimExpired => "claimExpired",
            Self::ClaimGone => "claimGone",
            Self::ClaimReleased => "claimReleased",
            Self::DatabaseUnavailable => "databaseUnavailable",
        }
    }

    /// The reason of that name.
    pub fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|reason| reason.as_str() == name)
    }
}

fn of_guard(code: &str, facts: &Facts) -> Option<Reason> {
    match code {
        "ERR_AGENT_IN_USE" => Some(Reason::InUse),
        "ERR_CLAIM_LOST" => Some(match facts.loss.as_deref() {
            Some("taken" | "refused") => Reason::ClaimTaken,
            Some("row-gone") => Reason::ClaimGone,
            Some("released") => Reason::ClaimReleased,
            _ => Reason::ClaimExpired,
        }),
        "ERR_DATABASE_UNAVAILABLE" => Some(Reason::DatabaseUnavailable),
        _ => None,
    }
}

fn has_network_sign(text: &str) -> bool {
    NETWORK_SIGNS.iter().any(|sign| text.contains(sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16, text: &str) -> Reason {
        Reason::of(&Facts { code: Some(code), text: text.into(), ..Facts::default() })
    }

    fn text(text: &str) -> Reason {
        Reason::of(&Facts { text: text.into(), ..Facts::default() })
    }

    #[test]
    fn every_code_of_the_table() {
        use Reason::*;
        let table = [
            (401, LoggedOut),
            (402, Refused),
            (403, Forbidden),
            (405, ClientOutdated),
            (406, Locked),
            (408, ConnectionLost),
            (409, TryLater),
            (411, MultideviceMismatch),
            (412, TryLater),
            (428, ConnectionClosed),
            (429, RateLimited),
            (440, ConnectionReplaced),
            (500, BadSession),
            (503, UnavailableService),
            (515, RestartRequired),
        ];
        for (code, reason) in table {
            assert_eq!(of(code, "Stream Errored"), reason, "{code}");
        }
        for code in [0, 200, 404, 418, 499, 501, 516, 999] {
            assert_eq!(of(code, "Stream Errored (what)"), Unknown, "{code}");
        }
    }

    #[test]
    fn messages_tell_what_codes_do_not() {
        assert_eq!(of(408, "QR refs attempts ended"), Reason::QrExpired);
        assert_eq!(of(408, "WebSocket Error (connect ECONNREFUSED 127.0.0.1:1)"), Reason::Network);
        assert_eq!(text("read ECONNRESET"), Reason::Network);
        assert_eq!(text("getaddrinfo ENOTFOUND web.whatsapp.com"), Reason::Network);
        assert_eq!(text("connect ETIMEDOUT 1.2.3.4:443"), Reason::Network);
        assert_eq!(text("Bad MAC Error: Bad MAC"), Reason::BadMac);
        assert_eq!(of(500, "Bad MAC"), Reason::BadMac);
        assert_eq!(text("something else"), Reason::Unknown);
        assert_eq!(of(440, "Bad MAC"), Reason::ConnectionReplaced);
    }

    #[test]
    fn a_refused_upgrade_logs_nobody_out() {
        for code in [401, 403, 503] {
            let message = format!("WebSocket Error (Unexpected server response: {code})");
            assert_eq!(of(code, &message), Reason::UpgradeRefused);
            let found = Some(Found::UpgradeRefused);
            let facts = Facts { code: Some(code), found, ..Facts::default() };
            assert_eq!(Reason::of(&facts), Reason::UpgradeRefused);
        }
        assert_eq!(of(429, "Unexpected server response: 429"), Reason::RateLimited);
    }

    #[test]
    fn what_this_library_finds_itself() {
        let found = |found| Reason::of(&Facts { found: Some(found), ..Facts::default() });
        assert_eq!(found(Found::ConnectTimeout), Reason::ConnectTimeout);
        assert_eq!(found(Found::ConnectFailed), Reason::ConnectFailed);
        assert_eq!(found(Found::SocketDead), Reason::SocketDead);
        assert_eq!(Reason::of(&Facts { ended: true, ..Facts::default() }), Reason::Ended);
        // A connect that rejects with what closed its socket tells that, not that it rejected.
        let found = Some(Found::ConnectFailed);
        let thrown = Facts { code: Some(401), found, ..Facts::default() };
        assert_eq!(Reason::of(&thrown), Reason::LoggedOut);
    }

    #[test]
    fn errors_of_this_library() {
        let guard = |code: &str, loss: Option<&str>| {
            Reason::of(&Facts {
                guard_code: Some(code.into()),
                loss: loss.map(Into::into),
                found: Some(Found::ConnectFailed),
                ..Facts::default()
            })
        };
        assert_eq!(guard("ERR_AGENT_IN_USE", None), Reason::InUse);
        assert_eq!(guard("ERR_DATABASE_UNAVAILABLE", None), Reason::DatabaseUnavailable);
        assert_eq!(guard("ERR_CLAIM_LOST", Some("taken")), Reason::ClaimTaken);
        assert_eq!(guard("ERR_CLAIM_LOST", Some("refused")), Reason::ClaimTaken);
        assert_eq!(guard("ERR_CLAIM_LOST", Some("row-gone")), Reason::ClaimGone);
        assert_eq!(guard("ERR_CLAIM_LOST", Some("released")), Reason::ClaimReleased);
        for loss in ["expired", "stalled", "buried"] {
            assert_eq!(guard("ERR_CLAIM_LOST", Some(loss)), Reason::ClaimExpired);
        }
        assert_eq!(guard("ERR_DECRYPT_FAILED", None), Reason::ConnectFailed);
    }

    #[test]
    fn every_name_leads_back() {
        for reason in ALL {
            assert_eq!(Reason::named(reason.as_str()), Some(reason));
        }
        assert_eq!(Reason::named("nonsense"), None);
    }
}

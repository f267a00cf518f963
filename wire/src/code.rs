//! The one registry of reply, reset and close codes. Numbers are never reused.
//!
//! A code that this version does not know decodes to `None`; callers treat it as the enum's general failure.

use std::fmt;

macro_rules! registry {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $number:literal, $text:literal;)+ }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)+ }

        impl $name {
            /// Every code, in the order of its number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The number on the wire.
            pub const fn number(self) -> u32 {
                match self { $(Self::$variant => $number,)+ }
            }

            /// The code with this number, where this version knows it.
            pub const fn from_number(number: u64) -> Option<Self> {
                match number { $($number => Some(Self::$variant),)+ _ => None }
            }

            /// The stable name, for logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        }

        impl From<$name> for quinn::VarInt {
            fn from(code: $name) -> Self {
                Self::from_u32(code.number())
            }
        }
    };
}

registry! {
    /// The server's answer to an `Open`: dialled, or why not.
    ReplyCode {
        /// The target was dialled; raw bytes follow.
        Ok = 0, "ok";
        /// The `Open` could not be understood.
        MalformedOpen = 1, "malformed-open";
        /// A rule of the server's policy denies the target.
        DeniedByRule = 2, "denied-by-rule";
        /// The target is, or resolves to, a private, local or metadata address.
        DeniedAddress = 3, "denied-address";
        /// The name does not exist.
        NameNotFound = 4, "name-not-found";
        /// The name could not be resolved: no answer in time, or a failing name server.
        ResolveFailed = 5, "resolve-failed";
        /// The target refused the connection.
        ConnectRefused = 6, "connect-refused";
        /// The target did not answer in time.
        ConnectTimeout = 7, "connect-timeout";
        /// There is no route to the target.
        Unreachable = 8, "unreachable";
        /// The target failed so often of late that it is not dialled for a while.
        BreakerOpen = 9, "breaker-open";
        /// This agent has as many sessions as it may have.
        TooManySessions = 10, "too-many-sessions";
        /// The server is about to stop and takes no new sessions.
        Draining = 11, "draining";
        /// The server does not serve this kind of session.
        UnsupportedKind = 12, "unsupported-kind";
        /// The server failed.
        Internal = 13, "internal";
    }
}

registry! {
    /// Why a session's stream was reset or stopped (RESET_STREAM, STOP_SENDING, `Abort`).
    ResetCode {
        /// The session is no longer wanted.
        Cancelled = 0x10, "cancelled";
        /// The target's TCP connection was reset or failed.
        UpstreamReset = 0x11, "upstream-reset";
        /// The client's TCP connection was reset or failed.
        ClientReset = 0x12, "client-reset";
        /// No byte moved for longer than the session's idle limit.
        IdleTimeout = 0x13, "idle-timeout";
        // 0x14 is reserved: it was never sent.
        /// The daemon is stopping and the session's grace is over.
        ShuttingDown = 0x15, "shutting-down";
        /// The peer broke the protocol.
        Protocol = 0x16, "protocol";
        /// A failure inside the daemon.
        Internal = 0x17, "internal";
        /// The stream's owner went away without an end: a panic, an error path, an aborted task.
        Abandoned = 0x18, "abandoned";
        /// The receiver's memory for bytes that wait is used up, and this session's bytes wait.
        Exhausted = 0x19, "exhausted";
    }
}

registry! {
    /// Why a QUIC connection was closed (CONNECTION_CLOSE of the application).
    CloseCode {
        /// Nothing more to do.
        Normal = 0x20, "normal";
        /// The daemon is stopping.
        ShuttingDown = 0x21, "shutting-down";
        /// The peer broke the protocol.
        Protocol = 0x22, "protocol";
        /// The server has as many connections as it may have.
        TooManyConnections = 0x23, "too-many-connections";
        /// The peer's identity is not acceptable.
        Refused = 0x24, "refused";
        /// A newer connection took this one's place.
        Replaced = 0x25, "replaced";
        /// A certificate that the peer showed has ended.
        Expired = 0x26, "certificate-expired";
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_comes_back_from_its_number_and_no_number_serves_twice() {
        let mut numbers = std::collections::HashSet::new();
        for code in ReplyCode::ALL {
            assert_eq!(ReplyCode::from_number(code.number().into()), Some(*code));
            assert!(numbers.insert(("reply", code.number())));
        }
        for code in ResetCode::ALL {
            assert_eq!(ResetCode::from_number(code.number().into()), Some(*code));
            assert!(numbers.insert(("stream", code.number())));
        }
        for code in CloseCode::ALL {
            assert_eq!(CloseCode::from_number(code.number().into()), Some(*code));
            assert!(numbers.insert(("stream", code.number())));
        }
        assert_eq!(ReplyCode::from_number(9_999), None);
    }
}

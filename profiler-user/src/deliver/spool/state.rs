//! How far a profile has come with an endpoint, and which endpoint that is: a byte and a name in the window's file.

use std::fmt;
use std::time::Duration;

use md5::{Digest, Md5};

/// Endpoints that one spool feeds: each has a place in every file.
pub const ENDPOINTS_MAX: usize = 8;

/// How far a profile has come with one endpoint. The numbers are those in files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum State {
    /// To be sent.
    Waiting = 0,
    /// The endpoint has it.
    Delivered = 1,
    /// Older than the endpoint takes; stays in the spool as long as there is room.
    TooOld = 2,
    /// Refused again and again, with answers that invite to try again, while others passed; stays like [`Self::TooOld`].
    Poisoned = 3,
    /// Refused for good.
    Refused = 4,
    /// Cannot be read any more.
    Damaged = 5,
    /// The endpoint was added later and does not take what is so old: it was never its own.
    NotForIt = 6,
    /// Being sent; never in a file, where it is [`Self::Waiting`].
    Sending = 15,
}

impl State {
    /// What a byte of a file says. One that nobody wrote is taken for [`Self::Waiting`]: sent twice is better than never.
    pub fn of_byte(byte: u8) -> Self {
        match byte {
            1 => Self::Delivered,
            2 => Self::TooOld,
            3 => Self::Poisoned,
            4 => Self::Refused,
            5 => Self::Damaged,
            6 => Self::NotForIt,
            _ => Self::Waiting,
        }
    }

    /// The byte in files.
    pub fn byte(self) -> u8 {
        match self {
            Self::Sending => Self::Waiting as u8,
            other => other as u8,
        }
    }

    /// Whether it is still to arrive.
    pub fn is_pending(self) -> bool {
        matches!(self, Self::Waiting | Self::Sending)
    }

    /// Whether it stays in the spool although it is not sent any more.
    pub fn is_set_aside(self) -> bool {
        matches!(self, Self::TooOld | Self::Poisoned)
    }
}

/// Which endpoint: the same URL and tenant are the same endpoint after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointKey(u64);

impl EndpointKey {
    /// Of a URL and a tenant, empty if there is none.
    pub fn new(url: &str, tenant: &str) -> Self {
        let digest = Md5::new().chain_update(url).chain_update([0]).chain_update(tenant).finalize();
        let first = digest.first_chunk().copied().unwrap_or_default();
        // 0 is an empty place in files.
        Self(u64::from_le_bytes(first).max(1))
    }

    /// As in files; 0 is none.
    pub fn of_number(number: u64) -> Option<Self> {
        (number != 0).then_some(Self(number))
    }

    /// As in files.
    pub fn number(self) -> u64 {
        self.0
    }
}

impl fmt::Display for EndpointKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// Where windows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Which one it is.
    pub key: EndpointKey,
    /// For people, also in files: no credentials. The first 55 bytes are kept there.
    pub name: String,
    /// How far back it takes profiles, less what sending may take; `None` if it takes all.
    pub takes_back: Option<Duration>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_read_back_and_unknown_ones_are_sent_again() {
        for state in [
            State::Waiting,
            State::Delivered,
            State::TooOld,
            State::Poisoned,
            State::Refused,
            State::Damaged,
            State::NotForIt,
        ] {
            assert_eq!(State::of_byte(state.byte()), state);
        }
        assert_eq!(State::of_byte(State::Sending.byte()), State::Waiting);
        assert_eq!([7, 15, 255].map(State::of_byte), [State::Waiting; 3]);
    }

    #[test]
    fn the_key_is_the_same_in_every_version() {
        let key = EndpointKey::new("https://profiles.example/", "shop");
        expect_test::expect!["bb01ea88c9545cac"].assert_eq(&key.to_string());
        assert_ne!(key, EndpointKey::new("https://profiles.example/s", "hop"));
        assert_eq!(EndpointKey::of_number(key.number()), Some(key));
        assert_eq!(EndpointKey::of_number(0), None);
    }
}

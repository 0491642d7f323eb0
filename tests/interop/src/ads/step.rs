//! The steps of a script, as words.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::Type;

/// One step.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Step {
    /// `start`: both types, wildcard by an empty subscription, as a stock tunnel.
    Start,
    /// `start-on-demand`: Address by subscribing to `*` and leaving it in one request; Authorization wildcard.
    StartOnDemand,
    /// `synced`: a response was acknowledged for each wildcard type.
    Synced,
    /// `empty:TYPE`: the first response of the type held nothing.
    Empty(Type),
    /// `subscribe:TYPE:NAME`.
    Subscribe(Type, String),
    /// `unsubscribe:TYPE:NAME`.
    Unsubscribe(Type, String),
    /// `present:TYPE:NAME`: it is there, or comes within the limit.
    Present(Type, String),
    /// `removed:TYPE:NAME`: named in `removed_resources` within the limit.
    Removed(Type, String),
    /// `absent:TYPE:NAME`: it is not there now.
    Absent(Type, String),
    /// `version:TYPE:NAME`: a version other than the one held comes.
    Changed(Type, String),
    /// `contains:TYPE:NAME:TEXT`: its JSON comes to hold that text.
    Contains(Type, String, String),
    /// `any:TYPE:TEXT`: the JSON of some resource of the type comes to hold that text.
    Any(Type, String),
    /// `none:TYPE`: no resource of the type is left.
    None(Type),
    /// `quiet:SECONDS`: nothing comes.
    Quiet(Duration),
    /// `nack:TYPE`: the next response of the type is refused.
    Nack(Type),
    /// `stale:TYPE:NAME`: claim to hold this resource at the next reconnect.
    Stale(Type, String),
    /// `stale-many:TYPE:N`: claim to hold N resources `gone/0`, `gone/1`, … at the next reconnect.
    StaleMany(Type, usize),
    /// `unversioned:TYPE:NAME`: claim to hold this resource without a version at the next reconnect, which asks for it.
    Unversioned(Type, String),
    /// `outdated:TYPE:NAME`: claim to hold another version of this resource at the next reconnect.
    Outdated(Type, String),
    /// `reconnect`: a new connection with `initial_resource_versions`.
    Reconnect,
    /// `resent:TYPE:N`: since the last connect, that many resources of the type came.
    Resent(Type, usize),
    /// `touch:FILE`: makes the file, so that another program knows how far the script is.
    Touch(PathBuf),
    /// `wait-file:FILE`: until the file is there.
    WaitFile(PathBuf),
}

impl FromStr for Step {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (word, rest) = text.split_once(':').unwrap_or((text, ""));
        let named = || named(rest).ok_or_else(|| format!("{text:?}: expected {word}:TYPE:NAME"));
        let kind = || {
            kind(rest)
                .ok_or_else(|| format!("{text:?}: expected {word}:address or {word}:authorization"))
        };
        Ok(match word {
            "start" => Self::Start,
            "start-on-demand" => Self::StartOnDemand,
            "synced" => Self::Synced,
            "reconnect" => Self::Reconnect,
            "empty" => Self::Empty(kind()?),
            "none" => Self::None(kind()?),
            "nack" => Self::Nack(kind()?),
            "subscribe" => named().map(|(t, n)| Self::Subscribe(t, n))?,
            "unsubscribe" => named().map(|(t, n)| Self::Unsubscribe(t, n))?,
            "present" => named().map(|(t, n)| Self::Present(t, n))?,
            "removed" => named().map(|(t, n)| Self::Removed(t, n))?,
            "absent" => named().map(|(t, n)| Self::Absent(t, n))?,
            "version" => named().map(|(t, n)| Self::Changed(t, n))?,
            "any" => named().map(|(t, n)| Self::Any(t, n))?,
            "unversioned" => named().map(|(t, n)| Self::Unversioned(t, n))?,
            "stale" => named().map(|(t, n)| Self::Stale(t, n))?,
            "outdated" => named().map(|(t, n)| Self::Outdated(t, n))?,
            "contains" => {
                let (t, rest) = named()?;
                let (name, part) = rest
                    .rsplit_once('=')
                    .ok_or_else(|| format!("{text:?}: expected contains:TYPE:NAME=TEXT"))?;
                Self::Contains(t, name.into(), part.into())
            }
            "stale-many" => {
                let (t, count) = named()?;
                Self::StaleMany(t, number(&count)?)
            }
            "resent" => {
                let (t, count) = named()?;
                Self::Resent(t, number(&count)?)
            }
            "quiet" => match rest.parse() {
                Ok(seconds) => Self::Quiet(Duration::from_secs_f64(seconds)),
                Err(_) => return Err(format!("{rest:?} is no number of seconds")),
            },
            "touch" => Self::Touch(rest.into()),
            "wait-file" => Self::WaitFile(rest.into()),
            _ => return Err(format!("{word:?} is no step; see --help")),
        })
    }
}

fn number(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| format!("{text:?} is no number"))
}

fn kind(text: &str) -> Option<Type> {
    match text {
        "address" => Some(Type::Address),
        "authorization" => Some(Type::Authorization),
        _ => None,
    }
}

fn named(text: &str) -> Option<(Type, String)> {
    let (first, name) = text.split_once(':')?;
    (!name.is_empty()).then_some((kind(first)?, name.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_read() {
        let read = |t: &str| t.parse::<Step>();
        let name = "/fd00::1".to_owned();
        assert_eq!(
            read("subscribe:address:/fd00::1"),
            Ok(Step::Subscribe(Type::Address, name))
        );
        assert_eq!(
            read("quiet:0.5"),
            Ok(Step::Quiet(Duration::from_millis(500)))
        );
        assert_eq!(
            read("contains:authorization:shop/a=DENY"),
            Ok(Step::Contains(
                Type::Authorization,
                "shop/a".into(),
                "DENY".into()
            ))
        );
        for wrong in [
            "",
            "subscribe",
            "subscribe:address:",
            "subscribe:pods:x",
            "quiet:x",
            "nack:x",
        ] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}

//! What ranks tell each other before they train: who they are, and what has to be the same of all of them.
//!
//! All ranks come to the same verdict by themselves, so that each can say it. It names the first rank that differs from rank 0, and
//! in what.

use serde::{Deserialize, Serialize};

use super::link::{Channel, Link};
use super::processes::Process;
use super::words;
use crate::build_info;
use crate::engine::Device;
use crate::error::{Error, Kind, Result};

/// Ahead of what is told: this program, and how it tells it.
const GREETING: &[u8] = b"vggkit ranks 1\n";

/// A rank as the others know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The machine's name.
    pub host: String,
    /// "cpu" or "gpu".
    pub engine: String,
    /// The processor or graphics card.
    pub adapter: String,
    /// What the graphics card is known by on its machine; empty where that is nothing, and in another version.
    #[serde(default)]
    pub card: String,
    /// What the ranks of its machine know it by; nothing in another version.
    #[serde(default)]
    pub process: Process,
}

impl Member {
    /// One that computes on `device`, on which of its machine's cards `card` says.
    pub fn on(device: &Device, card: Option<&str>) -> Self {
        let (engine, adapter) = (device.engine.clone(), device.adapter.clone());
        Self { engine, adapter, card: card.unwrap_or_default().to_owned(), ..Self::default() }
    }

    /// Whether both compute on one and the same graphics card.
    fn shares_card_with(&self, other: &Self) -> bool {
        let [mine, theirs] = [self, other].map(|member| (member.process.start(), &member.host));
        // Where the system says which machine it is, names do not count: several machines may have the same one.
        let one_machine = if mine.0.is_empty() { mine == theirs } else { mine.0 == theirs.0 };
        one_machine && self.card == other.card && !self.card.is_empty()
    }
}

/// What to say of graphics cards that several of `members`, in order of rank, have between them; nothing where each has its own.
pub fn shared_cards(members: &[Member]) -> Option<String> {
    let mut cards: Vec<(&Member, Vec<String>)> = Vec::new();
    for (rank, member) in members.iter().enumerate() {
        match cards.iter_mut().find(|(first, _)| first.shares_card_with(member)) {
            Some((_, ranks)) => ranks.push(rank.to_string()),
            None => cards.push((member, vec![rank.to_string()])),
        }
    }
    cards.retain(|(_, ranks)| ranks.len() > 1);
    let (Member { host, adapter, card, .. }, ranks) = cards.first()?;
    let more = match cards.len() - 1 {
        0 => String::new(),
        more => format!(", and others {more} more"),
    };
    Some(format!(
        "ranks {} share one graphics card ({adapter} at {card}, on {host}){more}, and are no faster for it: start no more ranks than \
         there are cards, and give --adapter to none of them or to each another one",
        ranks.join(", ")
    ))
}

/// What a rank is called in messages.
pub fn named(rank: usize, host: &str) -> String {
    format!("rank {rank} (on {host})")
}

/// All that a rank tells.
#[derive(Debug, Serialize, Deserialize)]
struct Greeting {
    member: Member,
    /// What has to be the same, by name: a rank has "another `name`".
    same: Vec<(String, String)>,
}

/// Tells the others of `mine` and hears of all, in order of rank. `same` is what all have to have alike, as (name, value), such as the
/// digest of a recipe; version and commit of the program stand ahead of it. Errors: the first difference; another rank is gone.
pub fn greet(link: &dyn Link, mine: &Member, same: &[(&str, String)]) -> Result<Vec<Member>> {
    let build = [("version", env!("CARGO_PKG_VERSION").to_owned()), ("commit", build_info::commit().to_owned())];
    let same = build.iter().chain(same).map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let greeting = Greeting { member: mine.clone(), same };
    let text = serde_json::to_vec(&greeting).map_err(|e| Error::new(Kind::Engine, "cannot greet").with_source(e))?;
    let (heard, _) = words::all(link, Channel::Words, &[GREETING, &text].concat())?;
    compare(&heard)
}

/// The members, where what they told is alike.
fn compare(heard: &[Vec<u8>]) -> Result<Vec<Member>> {
    let read = |told: &Vec<u8>| -> Option<Greeting> { serde_json::from_slice(told.strip_prefix(GREETING)?).ok() };
    let mut greetings = Vec::with_capacity(heard.len());
    for (rank, told) in heard.iter().enumerate() {
        greetings.push(read(told).ok_or_else(|| {
            alike(format!("rank {rank} is another program than this vggkit {}", env!("CARGO_PKG_VERSION")))
        })?);
    }
    let Some((first, others)) = greetings.split_first() else { return Ok(Vec::new()) };
    for (number, other) in others.iter().enumerate() {
        if let Some(what) = difference(first, other) {
            let other = named(number + 1, &other.member.host);
            return Err(alike(format!("{other} {what} (on {})", first.member.host)));
        }
    }
    Ok(greetings.into_iter().map(|greeting| greeting.member).collect())
}

/// How `other` differs from `first`, up to the host of the latter.
fn difference(first: &Greeting, other: &Greeting) -> Option<String> {
    let value_of = |greeting: &Greeting, name: &str| -> Option<String> {
        greeting.same.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    };
    let names = first.same.iter().chain(&other.same).map(|(name, _)| name);
    names.into_iter().find_map(|name| match (value_of(first, name), value_of(other, name)) {
        (Some(a), Some(b)) if a == b => None,
        (Some(a), Some(b)) => Some(format!("has another {name}: {}, and not {} as rank 0", shown(&b), shown(&a))),
        (Some(_), None) => Some(format!("says nothing of its {name}, as rank 0 does")),
        (None, _) => Some(format!("speaks of its {name}, and so does not rank 0")),
    })
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "none" } else { value }
}

fn alike(what: String) -> Error {
    Error::new(Kind::Data, what)
        .with_help("all ranks train the same network on the same data: start them by one command")
}

/// This machine's name.
pub fn host() -> String {
    #[cfg(unix)]
    return rustix::system::uname().nodename().to_string_lossy().into_owned();
    #[cfg(not(unix))]
    return std::env::var("COMPUTERNAME").unwrap_or_else(|_| "this machine".into());
}

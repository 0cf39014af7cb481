//! Ranks that differ find out before they train, and all of them say the same.

use vggkit::distributed::handshake::{Member, greet, shared_cards};
use vggkit::distributed::link::Channel;
use vggkit::distributed::processes::Process;
use vggkit::distributed::words;
use vggkit::engine::Device;

use super::ranks::{UNEVEN, over_links};

/// A rank's machine and card.
fn member(rank: usize) -> Member {
    let host = ["a", "b", "c"][rank].to_owned();
    Member { host, engine: "gpu".into(), adapter: format!("card {rank}"), ..Member::default() }
}

/// What three ranks hear of each other where rank `r` tells `same(r)`.
fn heard(
    same: impl Fn(usize) -> Vec<(&'static str, String)> + Clone + Send + 'static,
) -> Vec<Result<Vec<Member>, String>> {
    over_links(3, UNEVEN, move |link| {
        let rank = link.rank();
        greet(&*link, &member(rank), &same(rank)).map_err(|error| {
            assert_eq!(error.exit_code(), 1);
            assert!(error.help().is_some_and(|help| help.contains("one command")), "{error:?}");
            error.to_string()
        })
    })
}

#[test]
fn ranks_that_are_alike_know_each_other() {
    let alike = heard(|_| vec![("recipe", "b4d1".into()), ("data set", "77aa".into())]);
    let expected: Vec<Member> = (0..3).map(member).collect();
    assert_eq!(alike, vec![Ok(expected); 3]);
}

#[test]
fn the_first_difference_is_named_by_all() {
    let data = heard(|rank| vec![("recipe", "1".into()), ("data set", ["x", "x", "y"][rank].into())]);
    let what = "rank 2 (on c) has another data set: y, and not x as rank 0 (on a)".to_owned();
    assert_eq!(data, vec![Err(what); 3]);

    let more = heard(|rank| if rank == 1 { vec![("freeze", "3".into())] } else { Vec::new() });
    let what = "rank 1 (on b) speaks of its freeze, and so does not rank 0 (on a)".to_owned();
    assert_eq!(more, vec![Err(what); 3]);

    let less = heard(|rank| if rank == 0 { vec![("freeze", String::new())] } else { Vec::new() });
    let what = "rank 1 (on b) says nothing of its freeze, as rank 0 does (on a)".to_owned();
    assert_eq!(less, vec![Err(what); 3]);

    let none = heard(|rank| vec![("weights", if rank == 1 { "w" } else { "" }.into())]);
    let what = "rank 1 (on b) has another weights: w, and not none as rank 0 (on a)".to_owned();
    assert_eq!(none, vec![Err(what); 3]);
}

#[test]
fn another_program_or_version_is_named() {
    let told = |strange: &'static [u8]| {
        over_links(3, UNEVEN, move |link| match link.rank() {
            1 => words::all(&*link, Channel::Words, strange).map(|_| String::new()).expect("said"),
            rank => greet(&*link, &member(rank), &[]).expect_err("rank 1 differs").to_string(),
        })
    };
    for strange in [&b"hello"[..], b"", b"vggkit ranks 1\nnothing that can be read", b"vggkit ranks 2\n{}"] {
        let [first, _, last] = &told(strange)[..] else { panic!("three ranks") };
        assert!(first.starts_with("rank 1 is another program than this vggkit"), "{first}");
        assert_eq!(first, last);
    }
    // Another version says so itself, in whatever way it says the rest.
    let version = br#"vggkit ranks 1
{"member": {"host": "b", "engine": "", "adapter": ""}, "same": [["version", "0.0.1"]], "new": 1}"#;
    let error = &told(version)[0];
    let expected = format!("rank 1 (on b) has another version: 0.0.1, and not {} as", env!("CARGO_PKG_VERSION"));
    assert!(error.starts_with(&expected), "{error}");
}

/// Ranks on cards: (start of the machine and namespace there, its name, place of the card).
fn on_cards(ranks: &[(&str, &str, &str)]) -> Vec<Member> {
    let device = Device { engine: "gpu".into(), adapter: "H100".into(), ..Device::default() };
    let on = |&(machine, host, card): &(&str, &str, &str)| Member {
        host: host.into(),
        process: Process { id: 1, machine: machine.into() },
        ..Member::on(&device, Some(card).filter(|card| !card.is_empty()))
    };
    ranks.iter().map(on).collect()
}

#[test]
fn ranks_that_share_a_card_are_told_in_one_line() {
    let told = |ranks: &[(&str, &str, &str)]| shared_cards(&on_cards(ranks));
    let two = told(&[("m p", "a", "0000:41:00.0"), ("m p", "a", "0000:c1:00.0"), ("m q", "b", "0000:41:00.0")]);
    let two = two.expect("two containers of a machine have its card");
    assert!(two.starts_with("ranks 0, 2 share one graphics card (H100 at 0000:41:00.0, on a), and"), "{two}");
    assert!(two.contains("no more ranks than there are cards") && two.contains("--adapter"), "{two}");
    let many = told(&[("m p", "a", "1"), ("n p", "a", "1"), ("m p", "a", "1"), ("n p", "a", "1"), ("m p", "a", "1")]);
    let many = many.expect("two machines of one name, with a card each");
    assert!(many.starts_with("ranks 0, 2, 4 share") && many.contains("on a), and others 1 more"), "{many}");
    assert!(!many.contains('\n'));
    let unknown = told(&[("", "a", "1"), ("", "b", "1"), ("", "b", "1")]).expect("machines that are known by name");
    assert!(unknown.starts_with("ranks 1, 2 share"), "{unknown}");
}

#[test]
fn ranks_with_a_card_each_are_told_nothing() {
    for ranks in [
        &[("m p", "a", "1"), ("m p", "a", "2")][..], // two cards of one kind
        &[("m p", "a", "1"), ("n p", "a", "1")],     // the same place in two machines
        &[("m p", "a", ""), ("m p", "a", "")],       // processors, software adapters
        &[("", "a", "1"), ("", "b", "1")],
        &[("m p", "a", "1")],
        &[],
    ] {
        assert_eq!(shared_cards(&on_cards(ranks)), None, "{ranks:?}");
    }
}

#[test]
fn a_card_is_told_with_the_greeting() {
    let members = on_cards(&[("m p", "a", "1"), ("m p", "a", "1"), ("m p", "a", "2")]);
    let told = over_links(3, UNEVEN, move |link| {
        let heard = greet(&*link, &members[link.rank()], &[]).expect("alike");
        shared_cards(&heard).expect("two of three")
    });
    assert!(told.iter().all(|line| line.starts_with("ranks 0, 1 share") && *line == told[0]), "{told:?}");
}

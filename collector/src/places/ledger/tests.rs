use super::*;
use proptest::prelude::*;
use std::net::Ipv4Addr;

fn network(number: u8) -> Network {
    Network::of(Ipv4Addr::new(10, 0, 0, number).into())
}

fn few() -> Bounds {
    Bounds {
        strangers: 6,
        strangers_of_one_address: 4,
        consoles: 3,
        of_one_console: 2,
        operators: 2,
        of_one_operator: 2,
        ..Bounds::default()
    }
}

/// A ledger, and what those who came were told.
struct Door {
    ledger: Ledger,
    came: HashMap<Id, CancellationToken>,
    now: Instant,
}

impl Door {
    fn open(bounds: Bounds) -> Self {
        let now = Instant::now();
        Self { ledger: Ledger::new(bounds, now), came: HashMap::new(), now }
    }

    fn arrive(&mut self, from: u8) -> Result<Id, Full> {
        let gone = CancellationToken::new();
        let id = self.ledger.arrive(network(from), &gone, self.now)?;
        self.came.insert(id, gone);
        Ok(id)
    }

    fn is_gone(&self, id: Id) -> bool {
        self.came[&id].is_cancelled()
    }
}

#[test]
fn one_address_makes_room_for_itself_first() {
    let mut door = Door::open(few());
    let here: Vec<Id> = (0..4).map(|_| door.arrive(1).unwrap()).collect();
    let other = door.arrive(2).unwrap();
    let fifth = door.arrive(1).unwrap();
    assert!(door.is_gone(here[0]), "the one who was there the longest");
    assert!(!door.is_gone(here[1]) && !door.is_gone(other) && !door.is_gone(fifth));
    assert_eq!(door.ledger.strangers(), 5);
}

#[test]
fn who_holds_the_most_makes_room_for_others() {
    let mut door = Door::open(few());
    let first: Vec<Id> = (0..4).map(|_| door.arrive(1).unwrap()).collect();
    let second: Vec<Id> = (0..2).map(|_| door.arrive(2).unwrap()).collect();
    for (number, from) in [3, 4].into_iter().enumerate() {
        door.arrive(from).unwrap();
        assert!(door.is_gone(first[number]));
    }
    assert!(second.iter().all(|id| !door.is_gone(*id)));
    assert_eq!(door.ledger.strangers(), 6);
}

#[test]
fn who_was_let_in_gives_way_to_nobody() {
    let mut door = Door::open(few());
    let console = ConsoleId::new();
    let first = door.arrive(1).unwrap();
    door.ledger.prove(first, Holder::Console(console), door.now).unwrap();
    let operator = door.arrive(1).unwrap();
    door.ledger.prove(operator, Holder::Operator(OperatorId::new()), door.now).unwrap();
    for _ in 0..400 {
        // Some are refused, for coming too often.
        let _ = door.arrive(1);
    }
    assert!(!door.is_gone(first) && !door.is_gone(operator));
    // A console has so many, and all together have so many; others still come in.
    let second = door.arrive(2).unwrap();
    door.ledger.prove(second, Holder::Console(console), door.now).unwrap();
    let third = door.arrive(2).unwrap();
    assert_eq!(door.ledger.prove(third, Holder::Console(console), door.now), Err(Full::Taken));
    door.ledger.prove(third, Holder::Console(ConsoleId::new()), door.now).unwrap();
    let fourth = door.arrive(2).unwrap();
    let another = Holder::Console(ConsoleId::new());
    assert_eq!(door.ledger.prove(fourth, another, door.now), Err(Full::Taken));
    door.ledger.prove(fourth, Holder::Owner, door.now).unwrap();
    door.ledger.leave(second);
    let fifth = door.arrive(2).unwrap();
    door.ledger.prove(fifth, another, door.now).unwrap();
}

#[test]
fn only_those_who_come_to_nothing_count() {
    let rate = Rate { at_once: 5, per_second: 1 };
    let mut door = Door::open(Bounds { arrivals_of_one_address: rate, ..Bounds::default() });
    // A venue of five hundred behind one address.
    for _ in 0..500 {
        let id = door.arrive(1).unwrap();
        door.ledger.prove(id, Holder::Console(ConsoleId::new()), door.now).unwrap();
    }
    let strangers = (0..20).filter(|_| door.arrive(1).is_ok()).count();
    assert_eq!(strangers, 5);
    assert_eq!(door.arrive(1), Err(Full::Often));
    assert!(door.arrive(2).is_ok(), "others are not kept out");
    // One console that comes again and again is such a stranger after a while.
    let mut door = Door::open(Bounds { arrivals_of_one_address: rate, ..Bounds::default() });
    let console = Holder::Console(ConsoleId::new());
    let come = |door: &mut Door| {
        let id = door.arrive(1)?;
        door.ledger.prove(id, console, door.now)?;
        door.ledger.leave(id);
        Ok::<(), Full>(())
    };
    let most = door.ledger.bounds.arrivals_of_one_console.at_once + rate.at_once;
    assert_eq!((0..1000).filter(|_| come(&mut door).is_ok()).count(), most as usize);
}

#[test]
fn many_addresses_cannot_take_all_handshakes() {
    let mut door = Door::open(Bounds { handshakes_per_second: 100, ..Bounds::default() });
    // Forty addresses come as often as each may.
    let mut served = 0;
    for round in 0..50 {
        for from in 1..=40 {
            if door.arrive(from).is_ok() {
                door.ledger.handshake(door.now);
                served += usize::from(round >= 20);
            }
        }
        door.now += Duration::from_millis(100);
    }
    assert!(served <= 100 * 3 + 60, "{served} handshakes in three seconds");
    // Somebody else comes in at once, and soon has a turn.
    door.arrive(99).unwrap();
    assert!(door.ledger.handshake(door.now) < Duration::from_secs(2));
}

#[test]
fn what_is_remembered_is_bounded() {
    let mut door = Door::open(Bounds::default());
    for number in 0..50_000u32 {
        let gone = CancellationToken::new();
        let from = Network::of(Ipv4Addr::from(number).into());
        if let Ok(id) = door.ledger.arrive(from, &gone, door.now) {
            if number % 2 == 0 {
                let console = Holder::Console(ConsoleId::new());
                door.ledger.prove(id, console, door.now).unwrap();
            }
            door.ledger.leave(id);
        }
        door.now += Duration::from_millis(10);
    }
    assert!(door.ledger.networks.len() <= REMEMBERED);
    assert!(door.ledger.standings.len() <= REMEMBERED);
}

#[test]
fn an_ipv6_network_is_one_neighbour() {
    let of = |text: &str| Network::of(text.parse().unwrap());
    assert_eq!(of("2001:db8:1:2::7"), of("2001:db8:1:2:ffff::1"));
    assert_ne!(of("2001:db8:1:2::7"), of("2001:db8:1:3::7"));
    assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
}

#[derive(Clone, Copy, Debug)]
enum Move {
    Arrive(u8),
    /// One of those that came, by its place among them, as one of these consoles.
    Prove(usize, usize),
    Leave(usize),
    Wait(u64),
}

fn moves() -> impl Strategy<Value = Vec<Move>> {
    let one = prop_oneof![
        4 => (1..6u8).prop_map(Move::Arrive),
        2 => (any::<usize>(), 0..5usize).prop_map(|(which, who)| Move::Prove(which, who)),
        2 => any::<usize>().prop_map(Move::Leave),
        1 => (0..3000u64).prop_map(Move::Wait),
    ];
    proptest::collection::vec(one, 1..200)
}

proptest! {
    #[test]
    fn no_order_of_things_breaks_a_bound(moves in moves()) {
        let bounds = few();
        let mut door = Door::open(bounds);
        let who: Vec<Holder> = (0..4)
            .map(|_| Holder::Console(ConsoleId::new()))
            .chain([Holder::Operator(OperatorId::new())])
            .collect();
        let mut ids: Vec<Id> = Vec::new();
        let mut known: HashMap<Id, Holder> = HashMap::new();
        for one in moves {
            match one {
                Move::Arrive(from) => if let Ok(id) = door.arrive(from) { ids.push(id) },
                Move::Prove(which, holder) if !ids.is_empty() => {
                    let (id, holder) = (ids[which % ids.len()], who[holder]);
                    let fresh = !known.contains_key(&id) && !door.is_gone(id);
                    if door.ledger.prove(id, holder, door.now).is_ok() && fresh {
                        known.insert(id, holder);
                    }
                }
                Move::Leave(which) if !ids.is_empty() => {
                    let id = ids.swap_remove(which % ids.len());
                    door.ledger.leave(id);
                    known.remove(&id);
                }
                Move::Wait(ms) => door.now += Duration::from_millis(ms),
                Move::Prove(..) | Move::Leave(_) => {}
            }
            let ledger = &door.ledger;
            let strangers = ids.iter().filter(|id| !known.contains_key(id) && !door.is_gone(**id)).count();
            prop_assert_eq!(ledger.strangers, strangers);
            prop_assert!(strangers <= bounds.strangers);
            prop_assert_eq!(ledger.sizes.iter().map(|(count, _)| count).sum::<usize>(), strangers);
            prop_assert!(ledger.sizes.iter().all(|(count, _)| *count <= bounds.strangers_of_one_address));
            prop_assert!(known.keys().all(|id| !door.is_gone(*id)), "who was let in stays");
            let consoles = known.values().filter(|h| matches!(h, Holder::Console(_))).count();
            prop_assert_eq!(ledger.consoles, consoles);
            prop_assert_eq!(ledger.operators, known.len() - consoles);
            prop_assert!(consoles <= bounds.consoles);
            for holder in &who {
                prop_assert!(known.values().filter(|h| *h == holder).count() <= 2);
            }
        }
    }
}

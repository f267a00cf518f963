//! Places and who is told of whom.

use super::*;
use std::time::Duration;

fn limits() -> Limits {
    Limits {
        connections: 3,
        connections_per_agent: 2,
        sessions: 3,
        sessions_per_agent: 2,
        open_timeout: Duration::from_secs(1),
        session_idle: Duration::from_secs(1),
        window_memory: 1 << 20,
        memory: 1 << 30,
    }
}

fn roster() -> Arc<Roster> {
    Roster::new(limits(), u32::MAX)
}

fn peer() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 1], 4433))
}

fn agent(name: &str) -> AgentId {
    AgentId::parse(name).unwrap()
}

#[test]
fn connections_are_limited_for_each_agent_and_for_all() {
    let roster = roster();
    let (ann, bob) = (agent("ann"), agent("bob"));
    let first = roster.admit(&ann, peer()).unwrap();
    let _second = roster.admit(&ann, peer()).unwrap();
    assert_eq!(roster.admit(&ann, peer()).unwrap_err(), Full::Agent);
    let _third = roster.admit(&bob, peer()).unwrap();
    assert_eq!(roster.admit(&bob, peer()).unwrap_err(), Full::Server);
    drop(first);
    let fourth = roster.admit(&bob, peer()).unwrap();
    assert_eq!(fourth.id(), 4, "ids are not used again");
}

#[test]
fn sessions_are_limited_across_the_connections_of_an_agent() {
    let roster = roster();
    let (one, two) = (
        roster.admit(&agent("ann"), peer()).unwrap(),
        roster.admit(&agent("ann"), peer()).unwrap(),
    );
    let bob = roster.admit(&agent("bob"), peer()).unwrap();
    let first = one.session().unwrap();
    let _second = two.session().unwrap();
    assert_eq!(one.session().unwrap_err(), Full::Agent);
    let _third = bob.session().unwrap();
    assert_eq!(bob.session().unwrap_err(), Full::Server);
    assert_eq!((roster.sessions(), roster.connected()[0].sessions), (3, 1));
    drop(first);
    assert_eq!((roster.sessions(), roster.connected()[0].sessions), (2, 0));
    two.session().unwrap();
}

#[test]
fn where_descriptors_are_few_no_agent_has_more_sessions_than_it_leaves_free() {
    let limits = Limits {
        sessions: 100,
        sessions_per_agent: 100,
        ..limits()
    };
    let roster = Roster::new(limits, 9);
    let (ann, bob) = (agent("ann"), agent("bob"));
    let (ann, bob) = (
        roster.admit(&ann, peer()).unwrap(),
        roster.admit(&bob, peer()).unwrap(),
    );
    let all = |guest: &Guest| std::iter::from_fn(|| guest.session().ok()).collect::<Vec<_>>();
    let of_ann = all(&ann);
    assert_eq!(of_ann.len(), 5);
    assert_eq!(ann.session().unwrap_err(), Full::Agent);
    let of_bob = all(&bob);
    assert_eq!(of_bob.len(), 2);
    drop((of_ann, of_bob));
    assert_eq!(all(&bob).len(), 5);
}

#[test]
fn each_agent_learns_of_the_others_once_each() {
    let roster = roster();
    let mut changes = roster.agents();
    let enter = |name, instance| {
        let guest = roster.admit(&agent(name), peer()).unwrap();
        guest.introduce(instance);
        guest
    };
    let ann = enter("ann", 1);
    assert_eq!(roster.others(&ann), Others::default());
    changes.borrow_and_update();
    let again = enter("ann", 1);
    assert!(
        !changes.has_changed().unwrap(),
        "a second connection is no second agent"
    );
    let bob = enter("bob", 2);
    let others = roster.others(&ann);
    assert_eq!((others.count, others.names), (1, vec![agent("bob")]));
    assert_eq!(roster.others(&bob).count, 1);
    changes.borrow_and_update();
    drop(ann);
    assert!(!changes.has_changed().unwrap(), "it is still here");
    drop(again);
    assert!(changes.has_changed().unwrap());
    assert_eq!(roster.others(&bob).count, 0);
}

#[test]
fn one_name_used_by_two_processes_is_two_agents_and_an_older_connection_of_one_is_not() {
    let roster = roster();
    let none = Duration::ZERO;
    let (here, there) = (
        roster.admit(&agent("ann"), peer()).unwrap(),
        roster.admit(&agent("ann"), peer()).unwrap(),
    );
    here.introduce(1);
    assert_eq!(roster.others(&here).count, 0, "who it is has yet to be said");
    there.introduce(2);
    for guest in [&here, &there] {
        let others = roster.others(guest);
        assert_eq!((others.count, others.same_name), (1, 1));
        assert_eq!(others.names, [agent("ann")]);
    }
    assert_eq!(roster.doubled(none).0, [agent("ann")]);
    let (early, next) = roster.doubled(Duration::from_secs(60));
    assert!(
        early.is_empty() && next.is_some(),
        "a restart overlaps for a moment"
    );

    let bob = roster.admit(&agent("bob"), peer()).unwrap();
    let others = roster.others(&bob);
    assert_eq!((others.count, others.same_name), (2, 0));
    assert_eq!(
        roster.others(&here).count,
        2,
        "bob counts before he says who he is"
    );
    drop(bob);

    // The first one reconnects: its older connection still drains.
    drop(there);
    let mut changes = roster.agents();
    let again = roster.admit(&agent("ann"), peer()).unwrap();
    again.introduce(1);
    assert_eq!(roster.others(&again), Others::default());
    assert_eq!(roster.doubled(none), (vec![], None));
    changes.borrow_and_update();
    drop(here);
    assert!(!changes.has_changed().unwrap(), "it is still here");
}

#[test]
fn an_agent_that_left_leaves_nothing_behind() {
    let roster = roster();
    let guest = roster.admit(&agent("ann"), peer()).unwrap();
    guest.introduce(1);
    let session = guest.session().unwrap();
    drop(guest);
    let state = roster.lock();
    assert!(state.connections.is_empty() && state.agents.is_empty() && state.instances.is_empty());
    drop(state);
    drop(session);
    assert_eq!(roster.sessions(), 0);
}

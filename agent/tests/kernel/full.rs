//! A table that is full.

use std::net::SocketAddr;

use aya::maps::{HashMap, Map, MapData, MapInfo};
use warren_abi::{DirectConn, names};

use super::rig::Rig;
use super::world::World;
use crate::{FAMILIES, REASON};

type Live = HashMap<MapData, u64, [u8; size_of::<DirectConn>()]>;

#[test]
#[ignore = "needs root, a cgroup v2 hierarchy and the kernel object in WARREN_BPF_OBJECT"]
fn a_direct_flow_that_cannot_be_listed_is_not_authorised() {
    for v4 in FAMILIES {
        let world = World::new(if v4 { "full4" } else { "full6" }).expect(REASON);
        let mut rig = Rig::start(&world);
        rig.enrol(&["a", "b"]);
        let to = SocketAddr::new(world.ip("b", v4), 8080);
        let server = world.server("b", to.port());
        let captured = world.client("a", to);
        rig.accept_outbound("a", to);
        captured.join();
        rig.until("a verdict", |rig| rig.wanted > 0);
        let live = world.client("a", to);
        assert!(live.line().starts_with("connected"));
        assert!(server.line().starts_with("accepted"));

        // Policy finds the flow that lives, whatever comes after it.
        fill(&world);
        let found = rig.live();
        let one_more = world.client("a", to);
        rig.accept_plaintext("b", v4);
        one_more.join();
        assert_eq!(rig.authorised(), 0);
        assert_eq!(rig.live(), found);
        rig.policy(super::rig::deny_all("test"));
        let ended = ["ended ECONNABORTED", "ended ECONNRESET"];
        assert!(ended.contains(&live.line().as_str()));
    }
}

/// Adds flows that nobody made until there is no room.
fn fill(world: &World) {
    let path = world.pins().join("maps").join(names::DIRECT_CONNS);
    let room = MapInfo::from_pin(&path).expect("a map").max_entries();
    let data = MapData::from_pin(&path).expect("a map");
    let mut map = Live::try_from(Map::HashMap(data)).expect("a table that evicts nothing");
    let full = (0..=u64::from(room)).find(|n| {
        let cookie = u64::MAX - n;
        map.insert(cookie, [0; size_of::<DirectConn>()], 0).is_err()
    });
    assert!(full.is_some_and(|n| n > 0), "{full:?}");
}

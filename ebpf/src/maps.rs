//! The maps, and the few operations that every program shares.

use aya_ebpf::bindings::bpf_sock;
use aya_ebpf::btf_maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf, SkStorage, SockHash};
use aya_ebpf::helpers::{bpf_sk_storage_delete, bpf_sk_storage_get};
use aya_ebpf::macros::btf_map;
use warren_abi::{
    Backend, BackendKey, COUNTERS_LEN, Config, Conn, ConnKey, Counter, DirectConn, Event, Flow,
    FlowKey, Intent, Ip, ListenerKey, LocalWorkload, Pod, ProbePort, ServiceAddr, ServiceEntry,
    Verdict, VerdictKey,
};

const NO_PREALLOC: usize = aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize;
const PODS: usize = 1024;
const LISTENERS: usize = 8192;
const SERVICES: usize = 1 << 18;
const BACKENDS: usize = 1 << 20;
const VERDICTS: usize = 1 << 16;
const FLOWS: usize = 1 << 16;
const CONNS: usize = 1 << 18;
const EVENT_BYTES: usize = 1 << 20;

#[btf_map(name = "config")]
pub static CONFIG: Array<Config, 1> = Array::new();
#[btf_map(name = "pods")]
pub static POD: HashMap<u64, Pod, PODS> = HashMap::new();
#[btf_map(name = "local_workloads")]
pub static LOCAL_WORKLOAD: HashMap<Ip, LocalWorkload, LISTENERS> = HashMap::new();
#[btf_map(name = "services")]
pub static SERVICE: HashMap<ServiceAddr, ServiceEntry, SERVICES, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "backends")]
pub static BACKEND: HashMap<BackendKey, Backend, BACKENDS, NO_PREALLOC> = HashMap::new();
#[btf_map(name = "verdicts")]
pub static VERDICT: LruHashMap<VerdictKey, Verdict, VERDICTS> = LruHashMap::new();
#[btf_map(name = "flows")]
pub static FLOW: LruHashMap<FlowKey, Flow, FLOWS> = LruHashMap::new();
#[btf_map(name = "conns")]
pub static CONN: LruHashMap<ConnKey, Conn, CONNS> = LruHashMap::new();
// Nothing is evicted here: a flow that policy comes to deny is ended by its entry.
#[btf_map(name = "direct_conns")]
pub static DIRECT_CONN: HashMap<u64, DirectConn, CONNS> = HashMap::new();
#[btf_map(name = "probe_ports")]
pub static PROBE_PORT: HashMap<ProbePort, u32, LISTENERS> = HashMap::new();
#[btf_map(name = "listeners")]
pub static LISTENER: SockHash<ListenerKey, LISTENERS> = SockHash::new();
#[btf_map(name = "events")]
pub static EVENTS: RingBuf<Event, EVENT_BYTES> = RingBuf::new();
#[btf_map(name = "counters")]
pub static COUNTER: PerCpuArray<u64, { COUNTERS_LEN as usize }> = PerCpuArray::new();
#[btf_map(name = "intents")]
pub static INTENT: SkStorage<Intent> = SkStorage::new();

/// A map whose entries are read while others write it.
pub trait Entries<K, V> {
    /// Where the entry is now; null where there is none.
    fn place(&self, key: &K) -> *mut V;
}

macro_rules! entries {
    ($map:ident $(, $flags:ident)?) => {
        impl<K, V, const N: usize $(, const $flags: usize)?> Entries<K, V> for $map<K, V, N $(, $flags)?> {
            #[inline(always)]
            fn place(&self, key: &K) -> *mut V {
                self.get_ptr_mut(key).unwrap_or(core::ptr::null_mut())
            }
        }
    };
}
entries!(HashMap, F);
entries!(LruHashMap);

/// What was found under a key.
pub enum Found<V> {
    /// This.
    Value(V),
    /// Nothing.
    Nothing,
    /// An entry that was replaced or taken away while it was read.
    Changed,
}

/// Copies an entry. An entry that is replaced or taken away gives its memory to the next one of any key at once, also under the hands
/// of a program that is reading it and was pre-empted: what was read counts only if the entry is still in its place afterwards.
#[inline(always)]
pub fn read<K, V: Copy>(map: &impl Entries<K, V>, key: &K) -> Found<V> {
    let place = map.place(key);
    if place.is_null() {
        return Found::Nothing;
    }
    let value = unsafe { place.read_volatile() };
    if map.place(key) == place {
        Found::Value(value)
    } else {
        Found::Changed
    }
}

/// The same where an entry that changes may count as none: where that closes, or leaves the choice to the tunnel.
#[inline(always)]
pub fn read_or_none<K, V: Copy>(map: &impl Entries<K, V>, key: &K) -> Option<V> {
    match read(map, key) {
        Found::Value(value) => Some(value),
        Found::Nothing | Found::Changed => None,
    }
}

/// Adds one to a counter of this CPU.
#[inline(always)]
pub fn count(counter: Counter) {
    if let Some(value) = COUNTER.get_ptr_mut(counter as u32) {
        unsafe { *value += 1 };
    }
}

/// The settings; the entry always exists, a missing one reads as zero.
#[inline(always)]
pub fn config() -> Option<&'static Config> {
    CONFIG.get(0)
}

/// The socket's intent, if it has one.
#[inline(always)]
pub fn intent(sk: *mut bpf_sock) -> *mut Intent {
    intent_with(sk, 0)
}

/// The socket's intent, made where there is none; null when memory ran out.
#[inline(always)]
pub fn intent_or_new(sk: *mut bpf_sock) -> *mut Intent {
    intent_with(
        sk,
        u64::from(aya_ebpf::bindings::BPF_SK_STORAGE_GET_F_CREATE),
    )
}

/// Forgets the socket's intent.
#[inline(always)]
pub fn forget_intent(sk: *mut bpf_sock) {
    let map = core::ptr::from_ref(&INTENT).cast_mut().cast();
    unsafe { bpf_sk_storage_delete(map, sk.cast()) };
}

#[inline(always)]
fn intent_with(sk: *mut bpf_sock, flags: u64) -> *mut Intent {
    let map = core::ptr::from_ref(&INTENT).cast_mut().cast();
    unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags) }.cast()
}

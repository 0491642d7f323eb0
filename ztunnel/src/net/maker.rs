//! In-pod sockets. One thread enters pods' network namespaces and makes sockets there; it never runs anything else, so no
//! other code can find itself in a foreign namespace. A socket keeps the namespace that it was made in.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;

use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use parking_lot::Mutex;
use socket2::SockRef;
use tokio::net::TcpSocket;
use tokio::sync::oneshot;
use warren_api::node::Family;

use super::prepare;

/// Sockets kept ready for each family of a pod that has had traffic.
const READY: usize = 16;
/// Orders that may wait for the thread. More means that thousands of connections arrive at once: they fail.
const QUEUE: usize = 4096;

type Made = io::Result<Vec<OwnedFd>>;

struct Order {
    netns: Arc<OwnedFd>,
    family: Family,
    count: usize,
    reply: Reply,
}

enum Reply {
    To(oneshot::Sender<Made>),
    Store(Arc<Shelf>),
}

/// The thread that makes sockets.
#[derive(Clone, Debug)]
pub struct SocketMaker {
    orders: mpsc::SyncSender<Order>,
}

impl SocketMaker {
    /// Starts the thread.
    pub fn start() -> io::Result<Self> {
        let (orders, inbox) = mpsc::sync_channel(QUEUE);
        std::thread::Builder::new()
            .name("pod-sockets".into())
            .spawn(move || run(&inbox))?;
        Ok(Self { orders })
    }

    /// A store of sockets in one pod.
    pub fn sockets(&self, netns: OwnedFd) -> Sockets {
        Sockets {
            maker: self.clone(),
            netns: Arc::new(netns),
            shelves: Arc::default(),
        }
    }

    fn order(&self, order: Order) -> io::Result<()> {
        self.orders
            .try_send(order)
            .map_err(|_| io::Error::other("too many sockets are being made at once"))
    }
}

/// Sockets in one pod, a few of them ready before they are needed.
#[derive(Clone)]
pub struct Sockets {
    maker: SocketMaker,
    netns: Arc<OwnedFd>,
    shelves: Arc<Shelves>,
}

#[derive(Default)]
struct Shelves {
    v4: Arc<Shelf>,
    v6: Arc<Shelf>,
}

#[derive(Default)]
struct Shelf {
    ready: Mutex<Vec<OwnedFd>>,
    ordered: std::sync::atomic::AtomicBool,
}

impl Sockets {
    /// A socket of this family in the pod, unbound and not connected.
    pub async fn take(&self, family: Family) -> io::Result<TcpSocket> {
        let shelf = match family {
            Family::V4 => &self.shelves.v4,
            Family::V6 => &self.shelves.v6,
        };
        let (ready, left) = {
            let mut ready = shelf.ready.lock();
            (ready.pop(), ready.len())
        };
        if left < READY / 2 {
            self.refill(family, shelf);
        }
        let fd = match ready {
            Some(fd) => fd,
            None => self.make_one(family).await?,
        };
        Ok(TcpSocket::from_std_stream(fd.into()))
    }

    /// The pod's network namespace.
    pub fn netns(&self) -> &Arc<OwnedFd> {
        &self.netns
    }

    async fn make_one(&self, family: Family) -> io::Result<OwnedFd> {
        let (tx, rx) = oneshot::channel();
        self.maker.order(Order {
            netns: self.netns.clone(),
            family,
            count: 1,
            reply: Reply::To(tx),
        })?;
        let made = rx
            .await
            .map_err(|_| io::Error::other("the thread that makes sockets has ended"))??;
        made.into_iter()
            .next()
            .ok_or_else(|| io::Error::other("no socket was made"))
    }

    fn refill(&self, family: Family, shelf: &Arc<Shelf>) {
        use std::sync::atomic::Ordering;
        if shelf.ordered.swap(true, Ordering::AcqRel) {
            return;
        }
        let reply = Reply::Store(shelf.clone());
        let order = Order {
            netns: self.netns.clone(),
            family,
            count: READY,
            reply,
        };
        if self.maker.order(order).is_err() {
            shelf.ordered.store(false, Ordering::Release);
        }
    }
}

fn run(inbox: &mpsc::Receiver<Order>) {
    let mut entered: Option<Arc<OwnedFd>> = None;
    while let Ok(order) = inbox.recv() {
        let here = entered
            .as_ref()
            .is_some_and(|e| Arc::ptr_eq(e, &order.netns));
        let made = if here { Ok(()) } else { enter(&order.netns) };
        match &made {
            Ok(()) => entered = Some(order.netns.clone()),
            Err(_) => entered = None,
        }
        deliver(
            made.and_then(|()| make(order.family, order.count)),
            order.reply,
        );
    }
}

fn enter(netns: &OwnedFd) -> io::Result<()> {
    Ok(setns(netns.as_fd(), CloneFlags::CLONE_NEWNET)?)
}

fn make(family: Family, count: usize) -> Made {
    let family = match family {
        Family::V4 => AddressFamily::Inet,
        Family::V6 => AddressFamily::Inet6,
    };
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    (0..count)
        .map(|_| {
            let fd = socket(family, SockType::Stream, flags, None)?;
            prepare(&fd);
            // A delivery keeps a port of the pod, for a minute after its end as well. So an application can still listen there: servers
            // set the same option, as a rule. Fails only on what is no socket.
            let _ = SockRef::from(&fd).set_reuse_address(true);
            Ok(fd)
        })
        .collect()
}

fn deliver(made: Made, reply: Reply) {
    match reply {
        // The connection that asked may be gone: the socket closes.
        Reply::To(tx) => drop(tx.send(made)),
        Reply::Store(shelf) => {
            match made {
                Ok(fds) => shelf.ready.lock().extend(fds),
                Err(error) => tracing::debug!(%error, "no sockets were made ahead"),
            }
            shelf
                .ordered
                .store(false, std::sync::atomic::Ordering::Release);
        }
    }
}

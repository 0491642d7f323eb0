//! Every mode of the load generator against its own server, over loopback.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use warren_bench::load::{self, server};

const LENGTH: Duration = Duration::from_millis(300);

fn start() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || server::run(&listener).unwrap());
    address
}

#[test]
fn throughput_counts_what_arrives() {
    let report = load::throughput(start(), 4, LENGTH);
    assert_eq!((report.count, report.errors), (4, 0));
    assert!(report.bytes >= 4 * 128 * 1024, "{report:?}");
}

#[test]
fn connections_are_counted_with_their_times() {
    let report = load::connections(start(), 4, 1024, LENGTH);
    assert_eq!(report.errors, 0);
    assert!(
        report.count > 10 && report.latency.unwrap().p50 > 1.0,
        "{report:?}"
    );
}

#[test]
fn paced_requests_keep_their_rate_and_all_are_answered() {
    let report = load::paced(start(), 500, 8, 1024, LENGTH).unwrap();
    assert_eq!((report.count, report.errors), (150, 0), "{report:?}");
    assert!(report.latency.unwrap().max < 1e6);
}

#[test]
fn a_closed_loop_answers_large_bodies_whole() {
    let report = load::closed(start(), 4, 300_000, LENGTH).unwrap();
    assert!(
        report.count > 4 && report.served >= report.count,
        "{report:?}"
    );
}

#[test]
fn a_server_that_is_not_there_is_an_error_not_a_result() {
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    assert!(load::closed(gone, 1, 1, LENGTH).is_err());
    let report = load::connections(gone, 1, 1, LENGTH);
    assert!(report.count == 0 && report.errors > 0);
}

#[test]
fn a_stalled_server_is_charged_for_every_request_that_waited() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        // Connections queue in the kernel; nobody answers for a while.
        std::thread::sleep(Duration::from_millis(400));
        server::run(&listener).unwrap();
    });
    let report = load::paced(address, 100, 2, 64, Duration::from_millis(200)).unwrap();
    let latency = report.latency.unwrap();
    assert_eq!(report.errors, 0);
    assert!(
        latency.min > 100_000.0,
        "the wait of requests after the first is missing: {latency:?}"
    );
}

//! The command line: one clear line and exit status 2 for bad arguments.

use std::process::Command;

const GOOD: [&str; 3] = [
    "--node=a",
    "--xds=https://controller:15012",
    "--root-cert=/nonexistent",
];

#[test]
fn bad_arguments_get_one_line_and_status_2() {
    let without_node = &GOOD[1..];
    let with = |extra: &'static str| [&GOOD[..], &[extra]].concat();
    for args in [
        without_node.to_vec(),
        with("--bogus"),
        with("--cert-ttl=soon"),
        with("--admin-addr=0.0.0.0:15000"),
        with("--workers=0"),
        with("--access-log=xml"),
        with("--log=="),
        vec![
            "--node=a",
            "--xds=ftp://controller",
            "--root-cert=/nonexistent",
        ],
    ] {
        let out = Command::new(env!("CARGO_BIN_EXE_warren-ztunnel"))
            .args(&args)
            .env_clear()
            .output()
            .unwrap();
        let err = String::from_utf8(out.stderr).unwrap();
        assert_eq!(out.status.code(), Some(2), "{args:?}: {err}");
        assert!(
            err.starts_with("warren-ztunnel: ") && err.trim_end().lines().count() == 1,
            "{args:?}: {err}"
        );
    }
}

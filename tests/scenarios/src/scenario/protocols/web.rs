//! HTTP/1.1, HTTP/2, gRPC, WebSocket, HTTPS.

use anyhow::{Result, bail, ensure};

use super::{PYTHON, on_both_nodes, program, shared_dir};
use crate::process::run;
use crate::scenario::Registry;
use crate::world::{Ip, Skip, World, need};

/// Adds this theme's scenarios.
pub fn register(add: &mut Registry) {
    add.both("http-1.1-keep-alive", http1);
    add.both("http-2-prior-knowledge", http2);
    add.both("grpc", grpc);
    add.both("websocket", websocket);
    add.both("tls-inside-the-tunnel", tls);
}

fn http1(world: &World, ip: Ip) -> Result<()> {
    need(&["curl"])?;
    let (_keep, dir) = shared_dir()?;
    std::fs::write(dir.join("page.txt"), "hello from a page")?;
    let dir = dir.to_string_lossy();
    let argv = [
        PYTHON,
        "-m",
        "http.server",
        "--protocol",
        "HTTP/1.1",
        "--bind",
        "::",
        "-d",
        &dir,
        "9001",
    ];
    on_both_nodes(world, ip, 9001, &argv, |server| {
        let url = format!("http://{}/page.txt", server.at());
        let format = "|%{num_connects} %{http_code}\n";
        let said = server.client(&["curl", "-sS", "-m", "10", "-w", format, &url, &url])?;
        let lines: Vec<&str> = said.lines().collect();
        let expected = ["hello from a page|1 200", "hello from a page|0 200"];
        ensure!(
            lines == expected,
            "two requests on one connection: {lines:?}"
        );
        Ok(())
    })
}

fn http2(world: &World, ip: Ip) -> Result<()> {
    need(&["nghttpd", "h2load", "curl"])?;
    let (_keep, dir) = shared_dir()?;
    std::fs::write(dir.join("page.txt"), "hello from a page")?;
    let (any, dir) = (
        if ip == Ip::V4 { "0.0.0.0" } else { "::" },
        dir.to_string_lossy(),
    );
    let argv = ["nghttpd", "--no-tls", "-a", any, "-d", &dir, "9002"];
    on_both_nodes(world, ip, 9002, &argv, |server| {
        let url = format!("http://{}/page.txt", server.at());
        let curl = [
            "curl",
            "-sS",
            "-m",
            "10",
            "--http2-prior-knowledge",
            "-w",
            "|%{http_version}",
            &url,
        ];
        server.client_says(&curl, "hello from a page|2")?;
        server.client_says(
            &["h2load", "-n", "500", "-c", "5", "-m", "10", &url],
            "500 succeeded, 0 failed",
        )
    })
}

fn grpc(world: &World, ip: Ip) -> Result<()> {
    let mut probe = std::process::Command::new(PYTHON);
    probe.args(["-c", "import grpc"]);
    if !run(probe, crate::process::LIMIT).is_ok_and(|done| done.status.success()) {
        bail!(Skip("python3-grpcio is not installed".into()));
    }
    let script = program("grpc_echo.py");
    on_both_nodes(
        world,
        ip,
        9003,
        &[PYTHON, &script, "serve", "9003"],
        |server| server.client_says(&[PYTHON, &script, "check", &server.at()], "grpc ok"),
    )
}

fn websocket(world: &World, ip: Ip) -> Result<()> {
    need(&["python3"])?;
    let script = program("websocket.py");
    on_both_nodes(
        world,
        ip,
        9004,
        &[PYTHON, &script, "serve", "9004"],
        |server| {
            let host = server.host.to_string();
            server.client_says(&[PYTHON, &script, "check", &host, "9004"], "websocket ok")
        },
    )
}

fn tls(world: &World, ip: Ip) -> Result<()> {
    need(&["openssl", "curl"])?;
    let (_keep, dir) = shared_dir()?;
    let (key, cert) = (dir.join("key.pem"), dir.join("cert.pem"));
    let (key, cert) = (key.to_string_lossy(), cert.to_string_lossy());
    let mut make = std::process::Command::new("openssl");
    make.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "1",
    ]);
    make.args([
        "-subj",
        "/CN=app.example",
        "-addext",
        "subjectAltName=DNS:app.example",
    ]);
    make.args(["-keyout", &key, "-out", &cert]);
    run(make, crate::process::LIMIT)?.ok()?;
    let argv = [
        "openssl", "s_server", "-accept", "9005", "-key", &key, "-cert", &cert, "-www", "-quiet",
    ];
    on_both_nodes(world, ip, 9005, &argv, |server| {
        let host = server.host;
        let to = if ip == Ip::V6 {
            format!("app.example:9005:[{host}]")
        } else {
            format!("app.example:9005:{host}")
        };
        let curl = [
            "curl",
            "-sS",
            "-m",
            "10",
            "--cacert",
            &cert,
            "--resolve",
            &to,
            "https://app.example:9005/",
        ];
        server.client_says(&curl, "s_server")
    })
}

//! `connect`: one connection, bytes in the directions that the mode has, every one checked.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::Socket;

use super::args::{Connect, Family, Mode};
use super::dial;
use super::pattern::{Checksum, Pattern};
use super::report::{Connection, Failure, Outcome};

const BUFFER: usize = 128 * 1024;
const SERVER_SEED: u64 = 7;
/// Bytes that a server in `half-close` mode sends before it closes its half.
pub(crate) const HALF_CLOSE_BYTES: u64 = 1000;

/// Runs the command.
pub(crate) fn run(args: &Connect) -> Outcome {
    let begin = Instant::now();
    let mut outcome = Outcome::default();
    match exchange(args, &mut outcome) {
        Ok(()) => outcome.ok = true,
        Err(failure) => outcome.fail(&failure),
    }
    outcome.total_ms = begin.elapsed().as_millis() as u64;
    outcome
}

/// The pattern that servers send.
pub(crate) fn server_pattern() -> Pattern {
    Pattern::new(SERVER_SEED)
}

/// Writes `bytes` of a pattern; returns their checksum.
pub(crate) fn send(to: &mut impl Write, mut pattern: Pattern, bytes: u64) -> io::Result<Checksum> {
    let mut sum = Checksum::default();
    let mut buffer = vec![0; BUFFER.min(bytes as usize)];
    while sum.count() < bytes {
        let now = ((bytes - sum.count()) as usize).min(buffer.len());
        pattern.fill(&mut buffer[..now]);
        sum.add(&buffer[..now]);
        to.write_all(&buffer[..now])?;
    }
    Ok(sum)
}

/// Reads to the end of the stream.
pub(crate) fn receive(from: &mut impl Read) -> (Checksum, io::Result<()>) {
    let mut sum = Checksum::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return (sum, Ok(())),
            Ok(n) => sum.add(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (sum, Err(error)),
        }
    }
}

/// Reads one line byte by byte, so that nothing behind it is taken.
pub(crate) fn read_line(from: &mut impl Read) -> io::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < 4096 {
        match from.read(&mut byte)? {
            0 => {
                return Err(io::Error::new(
                    io::ErrorKind::UnexpectedEof,
                    "closed before a whole line came",
                ));
            }
            _ if byte[0] == b'\n' => return Ok(String::from_utf8_lossy(&line).into_owned()),
            _ => line.push(byte[0]),
        }
    }
    Err(io::Error::other("a line of more than 4096 bytes"))
}

fn exchange(args: &Connect, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut stream: TcpStream = dial::dial(&args.dial, outcome)?.into();
    match args.mode {
        Mode::Greet => {
            let line = read_line(&mut stream).map_err(Failure::at("receive"))?;
            let greeting = serde_json::from_str(&line);
            outcome.greeting =
                Some(greeting.map_err(|e| Failure::verify(format!("greeting: {e}")))?);
            echo(args, stream, outcome)
        }
        Mode::Echo => echo(args, stream, outcome),
        Mode::Sink => sink(args, stream, outcome),
        Mode::Source => source(args, stream, outcome),
        Mode::HalfClose => half_close(args, stream, outcome),
        Mode::Report | Mode::Udp => Err(Failure::verify("connect has no such mode")),
    }
}

fn pattern(args: &Connect) -> Pattern {
    let seed = u64::from(std::process::id()) << 20;
    args.text
        .as_deref()
        .map_or_else(|| Pattern::new(seed), Pattern::text)
}

fn echo(args: &Connect, stream: TcpStream, outcome: &mut Outcome) -> Result<(), Failure> {
    let mut reader = stream.try_clone().map_err(Failure::at("socket"))?;
    let reading = std::thread::spawn(move || receive(&mut reader));
    let mut writer = stream;
    let sent = send(&mut writer, pattern(args), args.bytes);
    let closed = writer.shutdown(Shutdown::Write);
    let (got, end) = reading
        .join()
        .map_err(|_| Failure::verify("the reading thread panicked"))?;
    outcome.received = got.count();
    let sent = sent.map_err(Failure::at("send"))?;
    outcome.sent = sent.count();
    end.map_err(Failure::at("receive"))?;
    closed.map_err(Failure::at("shutdown"))?;
    compare("echo", &sent, got.count(), got.value())
}

fn sink(args: &Connect, mut stream: TcpStream, outcome: &mut Outcome) -> Result<(), Failure> {
    let sent = send(&mut stream, pattern(args), args.bytes).map_err(Failure::at("send"))?;
    outcome.sent = sent.count();
    stream
        .shutdown(Shutdown::Write)
        .map_err(Failure::at("shutdown"))?;
    let line = read_line(&mut stream).map_err(Failure::at("receive"))?;
    outcome.received = line.len() as u64;
    let mut words = line.split_whitespace().map(str::parse);
    match (words.next(), words.next()) {
        (Some(Ok(count)), Some(Ok(sum))) => compare("sink", &sent, count, sum),
        _ => Err(Failure::verify(format!("the sink answered {line:?}"))),
    }
}

fn source(args: &Connect, mut stream: TcpStream, outcome: &mut Outcome) -> Result<(), Failure> {
    writeln!(stream, "{}", args.bytes).map_err(Failure::at("send"))?;
    let (got, end) = receive(&mut stream);
    outcome.received = got.count();
    end.map_err(Failure::at("receive"))?;
    let expected =
        send(&mut io::sink(), server_pattern(), args.bytes).map_err(Failure::at("verify"))?;
    compare("source", &expected, got.count(), got.value())
}

fn half_close(args: &Connect, mut stream: TcpStream, outcome: &mut Outcome) -> Result<(), Failure> {
    let (got, end) = receive(&mut stream);
    outcome.received = got.count();
    end.map_err(Failure::at("receive"))?;
    let expected =
        send(&mut io::sink(), server_pattern(), HALF_CLOSE_BYTES).map_err(Failure::at("verify"))?;
    compare("first half", &expected, got.count(), got.value())?;
    std::thread::sleep(Duration::from_millis(100));
    let sent = send(&mut stream, pattern(args), args.bytes).map_err(Failure::at("send"))?;
    outcome.sent = sent.count();
    drop(stream);
    let asked = outcome.asked.ok_or_else(|| Failure::verify("no address"))?;
    let port = args
        .report_port
        .ok_or_else(|| Failure::verify("half-close needs --report-port"))?;
    find_report(args, SocketAddr::new(asked.ip(), port), &sent)
}

/// Asks the server until it tells of a connection with our bytes.
fn find_report(args: &Connect, at: SocketAddr, sent: &Checksum) -> Result<(), Failure> {
    let end = Instant::now() + Duration::from_millis(args.dial.timeout_ms);
    let mut dial = args.dial.clone();
    dial.dest = at.to_string();
    // `at` is already in its family; resolving a mapped address as IPv4 would find nothing.
    dial.family = Family::Any;
    dial.bind = None;
    while Instant::now() < end {
        let mut stream: Socket = dial::dial(&dial, &mut Outcome::default())?;
        let mut text = String::new();
        stream
            .read_to_string(&mut text)
            .map_err(Failure::at("receive"))?;
        let known: Vec<Connection> =
            serde_json::from_str(&text).map_err(|e| Failure::verify(format!("report: {e}")))?;
        if let Some(found) = known.iter().find(|c| c.sum == sent.value()) {
            return match &found.error {
                None => compare("second half", sent, found.received, found.sum),
                Some(error) => Err(Failure::verify(format!("second half: {error}"))),
            };
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err(Failure::verify(
        "the server never had all bytes of the second half",
    ))
}

fn compare(what: &str, sent: &Checksum, count: u64, sum: u64) -> Result<(), Failure> {
    if sent.count() != count {
        return Err(Failure::verify(format!(
            "{what}: {} bytes sent, {count} came",
            sent.count()
        )));
    }
    if sent.value() != sum {
        return Err(Failure::verify(format!(
            "{what}: {count} bytes came, their checksum differs"
        )));
    }
    Ok(())
}

//! The L7 waypoint proxy: not part of this release; the binary says so and exits with status 1.

fn main() -> std::process::ExitCode {
    eprintln!(
        "warren-waypoint: waypoints are not part of this release; remove the `warren.dev/waypoint` label"
    );
    std::process::ExitCode::FAILURE
}

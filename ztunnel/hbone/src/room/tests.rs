use super::*;

const FULL: u32 = 4 << 20;

fn level(room: &Room) -> Level {
    *room.level.borrow()
}

fn go_to(room: &Room, stalled: usize) -> Level {
    while room.stalled.load(Ordering::Relaxed) < stalled {
        room.add();
    }
    while room.stalled.load(Ordering::Relaxed) > stalled {
        room.remove();
    }
    level(room)
}

#[test]
fn levels_rise_at_once_and_fall_late() {
    let room = Room::default();
    for (stalled, expected) in [
        (0, Level::Ample),
        (64, Level::Ample),
        (65, Level::Scarce),
        (33, Level::Scarce),
        (64, Level::Scarce),
        (32, Level::Ample),
        (64, Level::Ample),
        (512, Level::Scarce),
        (513, Level::Dire),
        (257, Level::Dire),
        (512, Level::Dire),
        (256, Level::Scarce),
        (600, Level::Dire),
        (0, Level::Ample),
    ] {
        assert_eq!(go_to(&room, stalled), expected, "{stalled}");
    }
}

#[test]
fn a_small_window_is_never_widened() {
    assert_eq!(Level::Scarce.window(64 << 10), 64 << 10);
    assert_eq!(Level::Dire.window(64 << 10), DIRE_WINDOW);
    assert_eq!(Level::Ample.window(FULL), FULL);
}

#[test]
fn a_connection_narrows_at_once_and_widens_after_a_while() {
    let room = Room::default();
    let limits = Limits::default();
    let mut windows = Windows::of(&room, &limits);
    let now = Instant::now();
    windows.look(now);
    assert_eq!((windows.told(), windows.at), (FULL, None));

    go_to(&room, 65);
    windows.look(now);
    assert_eq!((windows.wanted, windows.at), (SCARCE_WINDOW, Some(now)));
    windows.sent(true);
    assert_eq!((windows.told(), windows.at), (SCARCE_WINDOW, None));
    assert_eq!(Windows::of(&room, &limits).told(), SCARCE_WINDOW);

    go_to(&room, 0);
    windows.look(now);
    let later = Some(now + PATIENCE);
    assert_eq!((windows.wanted, windows.at), (FULL, later));
    // Looked at again, as at each request that a server takes.
    windows.look(now + PATIENCE / 2);
    assert_eq!(windows.at, later);
    windows.sent(true);
    assert_eq!((windows.told(), windows.at), (FULL, None));
}

#[test]
fn a_short_relief_widens_nothing() {
    let room = Room::default();
    go_to(&room, 65);
    let mut windows = Windows::of(&room, &Limits::default());
    go_to(&room, 32);
    let mut now = Instant::now();
    windows.look(now);
    assert_eq!(windows.at, Some(now + PATIENCE));
    go_to(&room, 65);
    now += PATIENCE / 2;
    windows.look(now);
    assert_eq!(windows.at, None);
    go_to(&room, 32);
    windows.look(now);
    assert_eq!(windows.at, Some(now + PATIENCE));
}

#[tokio::test]
async fn what_was_refused_is_due_again() {
    let room = Room::default();
    let mut windows = Windows::of(&room, &Limits::default());
    go_to(&room, 65);
    assert_eq!(windows.due().await, SCARCE_WINDOW);
    windows.sent(false);
    assert_eq!(windows.told(), FULL);
    let begin = Instant::now();
    assert_eq!(windows.due().await, SCARCE_WINDOW);
    assert!(begin.elapsed() >= RETRY / 2);
}

//! `warren maps`.

use warren_admin::types::MapView;

use super::lists;
use crate::output::{self, Located, Table};
use crate::place::Place;
use crate::{Error, Format};

/// A map that is fuller than this (in percent) is marked: entries may soon be refused or evicted.
const NEARLY_FULL: u64 = 90;

pub async fn run(place: &Place, format: Format) -> Result<bool, Error> {
    let maps = lists::<MapView>(place, Some("agent"), "/maps").await?;
    let mut maps: Vec<_> = maps
        .into_iter()
        .map(|(from, item)| Located { from, item })
        .collect();
    maps.sort_by(|a, b| (&a.from, &a.item.name).cmp(&(&b.from, &b.item.name)));
    output::write(format, &maps, |maps| draw(maps))?;
    Ok(true)
}

fn draw(maps: &[Located<MapView>]) -> String {
    let mut table = Table::new(&[
        "from", "map", "kind", "entries", "room", "fill", "entry", "pin",
    ]);
    for Located { from, item } in maps {
        table.row(vec![
            from.clone(),
            item.name.clone(),
            item.kind.clone(),
            item.entries
                .map_or_else(|| "-".to_owned(), |n| n.to_string()),
            item.max_entries.to_string(),
            fill(item),
            format!("{}+{} B", item.key_size, item.value_size),
            item.pin.clone(),
        ]);
    }
    table.render("no maps are pinned: no agent has loaded its programs yet")
}

fn fill(map: &MapView) -> String {
    match map.entries {
        Some(entries) if map.max_entries > 0 => {
            let percent = entries.saturating_mul(100) / map.max_entries;
            let mark = if percent >= NEARLY_FULL { " !" } else { "" };
            format!("{percent}%{mark}")
        }
        _ => "-".to_owned(),
    }
}

//! `warren certs` and `connections`.

use warren_admin::types::{CertView, ConnectionView};

use super::lists;
use crate::arguments::From;
use crate::output::{self, Located, Table, age, bytes, or_dash, until};
use crate::place::Place;
use crate::{Error, Format};

pub async fn certs(place: &Place, format: Format, from: &From) -> Result<bool, Error> {
    let certs = lists::<CertView>(place, from.from.as_deref(), "/certs").await?;
    let mut certs: Vec<_> = certs
        .into_iter()
        .map(|(from, item)| Located { from, item })
        .collect();
    certs.sort_by(|a, b| (&a.from, &a.item.identity).cmp(&(&b.from, &b.item.identity)));
    let good = certs
        .iter()
        .all(|c| !matches!(c.item.state.as_str(), "failed" | "expired"));
    output::write(format, &certs, |certs| draw_certs(certs))?;
    Ok(good)
}

pub async fn connections(place: &Place, format: Format, from: &From) -> Result<bool, Error> {
    let connections = lists::<ConnectionView>(place, from.from.as_deref(), "/connections").await?;
    let mut connections: Vec<_> = connections
        .into_iter()
        .map(|(from, item)| Located { from, item })
        .collect();
    connections.sort_by(|a, b| {
        (&a.from, a.item.since, a.item.source).cmp(&(&b.from, b.item.since, b.item.source))
    });
    output::write(format, &connections, |connections| {
        draw_connections(connections)
    })?;
    Ok(true)
}

fn draw_certs(certs: &[Located<CertView>]) -> String {
    let mut table = Table::new(&[
        "from",
        "identity",
        "state",
        "expires in",
        "renewed in",
        "serial",
        "error",
    ]);
    let left = |t: Option<_>| t.map_or_else(|| "-".to_owned(), until);
    for Located { from, item } in certs {
        table.row(vec![
            from.clone(),
            item.identity.clone(),
            item.state.clone(),
            left(item.not_after),
            left(item.renew_at),
            or_dash(&item.serial),
            or_dash(item.error.as_deref().unwrap_or_default()),
        ]);
    }
    table.render("no certificates")
}

fn draw_connections(connections: &[Located<ConnectionView>]) -> String {
    let headings = [
        "from",
        "direction",
        "path",
        "source",
        "destination",
        "upstream",
        "source identity",
        "service",
        "age",
        "sent",
        "received",
    ];
    let mut table = Table::new(&headings);
    for Located { from, item } in connections {
        table.row(vec![
            from.clone(),
            item.direction.clone(),
            item.path.clone(),
            item.source.to_string(),
            item.destination.to_string(),
            item.upstream
                .map_or_else(|| "-".to_owned(), |a| a.to_string()),
            or_dash(item.source_identity.as_deref().unwrap_or_default()),
            or_dash(item.service.as_deref().unwrap_or_default()),
            age(item.since),
            bytes(item.bytes_sent),
            bytes(item.bytes_received),
        ]);
    }
    table.render("no connections")
}

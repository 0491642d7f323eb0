//! `warren config`.

use std::collections::BTreeMap;

use serde_json::Value;
use warren_admin::types::ConfigView;

use super::chosen;
use crate::arguments::From;
use crate::output::{self, Table};
use crate::place::Place;
use crate::{Error, Format, ask};

pub async fn run(place: &Place, format: Format, from: &From) -> Result<bool, Error> {
    let answers = ask::all(chosen(place, from.from.as_deref())?, "/config").await;
    let present: Vec<(_, ConfigView)> = ask::present(place, answers)?;
    let by_process: BTreeMap<String, ConfigView> = present
        .into_iter()
        .map(|(process, config)| (process.to_string(), config))
        .collect();
    output::write(format, &by_process, draw)?;
    Ok(true)
}

fn draw(configs: &BTreeMap<String, ConfigView>) -> String {
    let mut table = Table::new(&["from", "setting", "value"]);
    for (from, config) in configs {
        for (setting, value) in &config.0 {
            table.row(vec![from.clone(), setting.clone(), plain(value)]);
        }
    }
    table.render("no settings")
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(s) => output::or_dash(s),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

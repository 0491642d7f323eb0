//! Tables, and text that must not be taken for mark-up.

/// A table with these columns.
pub fn table(columns: &[&str], rows: &[Vec<String>]) -> String {
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let cells: Vec<String> = cells.map(cell).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    let mut out = line(&mut columns.iter().copied());
    out += &line(&mut columns.iter().map(|_| "---"));
    for row in rows {
        out += &line(&mut row.iter().map(String::as_str));
    }
    out + "\n"
}

/// As code; nothing stays nothing.
pub fn code(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!("`{text}`")
    }
}

/// One line, with what would end the cell escaped.
fn cell(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_a_cell_stays_there() {
        let rows = [vec!["a|b".to_owned(), "two\nlines".to_owned()]];
        assert_eq!(
            table(&["x", "y"], &rows),
            "| x | y |\n| --- | --- |\n| a\\|b | two lines |\n\n"
        );
    }
}

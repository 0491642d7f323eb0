//! Aligned columns.

/// Rows under a heading.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
    columns: usize,
}

impl Table {
    /// A table with these headings and no row.
    pub fn new(headings: &[&str]) -> Self {
        let heading = headings.iter().map(|h| h.to_uppercase()).collect();
        Self {
            rows: vec![heading],
            columns: headings.len(),
        }
    }

    /// Adds a row; it has as many cells as there are headings.
    pub fn row(&mut self, cells: Vec<String>) {
        assert_eq!(cells.len(), self.columns, "one cell a heading");
        self.rows.push(
            cells
                .into_iter()
                .map(|c| c.replace(['\n', '\r'], " "))
                .collect(),
        );
    }

    /// The lines, with two spaces between columns; `nothing` where there is no row.
    pub fn render(&self, nothing: &str) -> String {
        if self.rows.len() == 1 {
            return format!("{nothing}\n");
        }
        let width = |column: usize| {
            self.rows
                .iter()
                .map(|r| r[column].chars().count())
                .max()
                .unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns).map(width).collect();
        let mut text = String::new();
        for row in &self.rows {
            let line: String = row
                .iter()
                .zip(&widths)
                .map(|(cell, w)| format!("{cell:w$}  "))
                .collect();
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", "n"]);
        assert_eq!(table.render("no things"), "no things\n");
        table.row(vec!["müller".into(), "1".into()]);
        table.row(vec!["x".into(), "two\nlines".into()]);
        assert_eq!(
            table.render(""),
            "NAME    N\nmüller  1\nx       two lines\n"
        );
    }
}

//! Text tables.

use std::fmt;

/// Side of its column to which a cell is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Align {
    Left,
    Right,
}

/// Rows of cells under headings, set in columns.
#[derive(Debug)]
pub(crate) struct Table {
    columns: Vec<(&'static str, Align)>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(crate) fn new(columns: &[(&'static str, Align)]) -> Self {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// A row; missing cells stay empty.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// The headings and then the rows: each cell with whether it is set to the right.
    pub(crate) fn cells(&self) -> impl Iterator<Item = Vec<(&str, bool)>> {
        let right = |column: usize| self.columns.get(column).is_some_and(|(_, align)| *align == Align::Right);
        let headings: Vec<(&str, bool)> =
            self.columns.iter().enumerate().map(|(i, (heading, _))| (*heading, right(i))).collect();
        let rows = self
            .rows
            .iter()
            .map(move |row| row.iter().enumerate().map(|(i, cell)| (cell.as_str(), right(i))).collect());
        std::iter::once(headings).chain(rows)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let headings: Vec<String> = self.columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let lines = || std::iter::once(&headings).chain(&self.rows);
        let width = |column: usize| lines().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..self.columns.len()).map(|column| width(column).unwrap_or(0)).collect();
        for row in lines() {
            let cells = row.iter().zip(&self.columns).zip(&widths).map(|((cell, (_, align)), &width)| match align {
                Align::Left => format!("{cell:<width$}"),
                Align::Right => format!("{cell:>width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Table::new(&[("name", Align::Left), ("bits", Align::Right)]);
        table.row(["convolution".into(), "4".into()]);
        table.row(["fc".into()]);
        assert_eq!(table.to_string(), "name         bits\nconvolution     4\nfc\n");
    }
}

//! Figures as tables in Markdown, and whether the bounds are held.

use std::fmt::Write as _;

/// Figures of one row: for each server, in the same order, those of its runs.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) what: String,
    /// Most, as a ratio to nginx or as such.
    pub(crate) bound: f64,
    pub(crate) figures: Vec<Vec<f64>>,
}

/// What bounds are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// The balancer's figure ÷ nginx's.
    Ratio,
    /// The balancer's figure.
    Figure,
    /// There is none.
    None,
}

/// A table.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) title: &'static str,
    /// Of the servers; the balancer is the first, nginx the second.
    pub(crate) servers: Vec<&'static str>,
    pub(crate) bound: Bound,
    /// Digits after the point.
    pub(crate) digits: usize,
    pub(crate) rows: Vec<Row>,
}

/// The middle one.
pub(crate) fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Row {
    fn compared(&self, bound: Bound) -> f64 {
        let of = |server: usize| self.figures.get(server).map_or(&[][..], |f| f);
        match bound {
            // Within a run: what else the machine does changes from run to run.
            Bound::Ratio => {
                let ratios = of(0).iter().zip(of(1)).map(|(own, nginx)| own / nginx);
                median(&ratios.collect::<Vec<f64>>())
            }
            Bound::Figure | Bound::None => median(of(0)),
        }
    }

    /// Whether its bound is held.
    pub(crate) fn holds(&self, bound: Bound) -> bool {
        bound == Bound::None || self.compared(bound) <= self.bound
    }

    fn cell(&self, server: usize, digits: usize) -> String {
        let figures = self.figures.get(server).map_or(&[][..], |f| f);
        let middle = format!("{:.digits$}", median(figures));
        let least = figures.iter().copied().fold(f64::INFINITY, f64::min);
        let most = figures.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if figures.len() < 2 {
            return middle;
        }
        format!("{middle} ({least:.digits$} to {most:.digits$})")
    }
}

impl Table {
    /// Whether all bounds are held.
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(|row| row.holds(self.bound))
    }

    /// In Markdown.
    ///
    /// # Errors
    /// Never: it is written into memory.
    pub(crate) fn markdown(&self) -> std::result::Result<String, std::fmt::Error> {
        let mut text = format!("| {} |", self.title);
        for server in &self.servers {
            write!(text, " {server} |")?;
        }
        text += match self.bound {
            Bound::Ratio => " balancer ÷ nginx | |\n",
            Bound::Figure => " bound | |\n",
            Bound::None => "\n",
        };
        let columns = self.servers.len() + if self.bound == Bound::None { 1 } else { 3 };
        writeln!(text, "|{}", "---|".repeat(columns))?;
        for row in &self.rows {
            write!(text, "| {} |", row.what)?;
            for server in 0..self.servers.len() {
                write!(text, " {} |", row.cell(server, self.digits))?;
            }
            let verdict = if row.holds(self.bound) {
                "PASS"
            } else {
                "over"
            };
            match self.bound {
                Bound::Ratio => {
                    let ratio = row.compared(self.bound);
                    writeln!(text, " {ratio:.2} (≤ {}) | {verdict} |", row.bound)?;
                }
                Bound::Figure => writeln!(text, " ≤ {} | {verdict} |", row.bound)?,
                Bound::None => writeln!(text)?,
            }
        }
        Ok(text)
    }
}

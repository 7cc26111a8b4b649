//! Text in columns, as Go's text/tabwriter aligns it with Docker's settings: cells at least ten wide,
//! three spaces apart.
//!
//! A tab ends a cell; what follows the last tab of a line belongs to no column. A column is a run of
//! neighbouring lines that have a cell there, so a line without one starts the widths anew.

const PADDING: usize = 3;

/// `text` with its tabs replaced by spaces. Width is counted in characters.
pub fn align(text: &str) -> String {
    align_at_least(10, text)
}

/// Likewise, with cells of another least width: `top` has twenty.
pub fn align_at_least(minimum: usize, text: &str) -> String {
    let lines: Vec<Vec<&str>> = text
        .split('\n')
        .map(|line| line.split('\t').collect())
        .collect();
    let mut widths: Vec<Vec<usize>> = lines.iter().map(|cells| vec![0; cells.len() - 1]).collect();
    let columns = widths.iter().map(Vec::len).max().unwrap_or(0);
    for column in 0..columns {
        let mut line = 0;
        while line < lines.len() {
            let run = widths[line..]
                .iter()
                .take_while(|cells| cells.len() > column)
                .count();
            let cells = lines[line..line + run]
                .iter()
                .map(|cells| cells[column].chars().count() + PADDING);
            let width = cells.max().unwrap_or(0).max(minimum);
            widths[line..line + run]
                .iter_mut()
                .for_each(|cells| cells[column] = width);
            line += run.max(1);
        }
    }
    let mut aligned = String::with_capacity(text.len() * 2);
    for (index, (cells, widths)) in lines.iter().zip(&widths).enumerate() {
        if index > 0 {
            aligned.push('\n');
        }
        for (cell, width) in cells.iter().zip(widths) {
            aligned.push_str(cell);
            aligned.extend(std::iter::repeat_n(' ', width - cell.chars().count()));
        }
        aligned.push_str(cells.last().unwrap_or(&""));
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        for (text, aligned) in [
            ("", ""),
            ("a\tb\n", "a         b\n"),
            ("a\t\tb\n", "a                   b\n"),
            (
                "NETWORK ID\tNAME\naaaaaaaaaaaa\tbridge\n",
                "NETWORK ID     NAME\naaaaaaaaaaaa   bridge\n",
            ),
            // Korean letters are one character each, whatever the terminal makes of them.
            (
                "옹기옹기옹기옹기\tx\ny\tz\n",
                "옹기옹기옹기옹기   x\ny          z\n",
            ),
            // A line without the column parts it in two.
            (
                "aaaaaaaaaaaa\tb\n-\na\tb\n",
                "aaaaaaaaaaaa   b\n-\na         b\n",
            ),
            (
                "a\tlonger than ten\tc\na\nb\tx\tc",
                "a         longer than ten   c\na\nb         x         c",
            ),
        ] {
            assert_eq!(align(text), aligned, "{text:?}");
        }
    }
}

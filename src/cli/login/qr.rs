//! A QR code for the terminal: two modules a character, and the light margin that cameras need.

use qrcode::{Color, EcLevel, QrCode};

/// ISO/IEC 18004: four modules on every side.
const QUIET: usize = 4;

/// How the terminal is told what is light.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ink {
    /// White and black by escape sequences, whatever the terminal's own colours.
    Colours,
    /// Full blocks are light: for a terminal with a dark background.
    Blocks,
}

/// The code; nothing where the text is too long for one.
pub(super) fn draw(text: &str, ink: Ink) -> Option<String> {
    let code = QrCode::with_error_correction_level(text, EcLevel::L).ok()?;
    let width = code.width();
    let modules = code.to_colors();
    let dark = |row: usize, column: usize| {
        let at = |n: usize| n.checked_sub(QUIET).filter(|n| *n < width);
        match (at(row), at(column)) {
            (Some(row), Some(column)) => modules[row * width + column] == Color::Dark,
            _ => false,
        }
    };
    let side = width + 2 * QUIET;
    let mut drawn = String::new();
    for row in (0..side).step_by(2) {
        if ink == Ink::Colours {
            drawn.push_str("\x1b[30;107m");
        }
        for column in 0..side {
            // an odd number of rows ends in half a row of margin
            let (upper, lower) = (dark(row, column), dark(row + 1, column));
            drawn.push(match (ink, upper, lower) {
                (Ink::Colours, true, true) | (Ink::Blocks, false, false) => '█',
                (Ink::Colours, true, false) | (Ink::Blocks, false, true) => '▀',
                (Ink::Colours, false, true) | (Ink::Blocks, true, false) => '▄',
                (Ink::Colours, false, false) | (Ink::Blocks, true, true) => ' ',
            });
        }
        if ink == Ink::Colours {
            drawn.push_str("\x1b[0m");
        }
        drawn.push('\n');
    }
    Some(drawn)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The modules again, light ones as dots, read back from what is drawn.
    fn read(drawn: &str) -> Vec<String> {
        let mut rows = Vec::new();
        for line in drawn.lines() {
            let half = |light: &[char]| {
                let module = |c: char| if light.contains(&c) { '.' } else { '#' };
                line.chars().map(module).collect::<String>()
            };
            rows.push(half(&['█', '▀']));
            rows.push(half(&['█', '▄']));
        }
        rows
    }

    #[test]
    fn what_is_drawn_is_the_code_in_a_light_margin() {
        let text = "https://idp.example/device?user_code=ABCD-EFGH";
        let code = QrCode::with_error_correction_level(text, EcLevel::L).unwrap();
        let width = code.width();
        let rows = read(&draw(text, Ink::Blocks).unwrap());
        let margin = ".".repeat(width + 8);
        assert!(rows[..4].iter().all(|row| *row == margin));
        assert!(rows[width + 4..].iter().all(|row| *row == margin));
        assert!(rows.len() >= width + 8);
        let modules = code.to_colors();
        for (n, row) in rows[4..width + 4].iter().enumerate() {
            let expected: String = modules[n * width..(n + 1) * width]
                .iter()
                .map(|module| if *module == Color::Dark { '#' } else { '.' })
                .collect();
            assert_eq!(*row, format!("....{expected}...."), "row {n}");
        }
    }

    #[test]
    fn with_colours_every_line_ends_them() {
        let drawn = draw("https://idp.example/device", Ink::Colours).unwrap();
        assert!(
            drawn
                .lines()
                .all(|line| line.starts_with("\x1b[30;107m") && line.ends_with("\x1b[0m"))
        );
        assert!(draw(&"x".repeat(5000), Ink::Blocks).is_none());
    }
}

//! Curves, both axes logarithmic, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{prelude::*, style::FontStyle};

/// One curve.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    pub(crate) name: &'static str,
    /// What grows, and the value.
    pub(crate) points: Vec<(f64, f64)>,
}

impl Series {
    pub(crate) fn new(name: &'static str) -> Self {
        Self {
            name,
            points: Vec::new(),
        }
    }
}

/// Draws curves into a file.
pub(crate) fn draw(
    path: &Path,
    title: &str,
    (of, unit): (&str, &str),
    curves: &[Series],
) -> Result<()> {
    draw_all(path, title, (of, unit), curves)
        .map_err(|error| anyhow!("draw {}: {error}", path.display()))
}

fn draw_all(
    path: &Path,
    title: &str,
    (of, unit): (&str, &str),
    curves: &[Series],
) -> std::result::Result<(), Box<dyn std::error::Error>> {
    let all = || curves.iter().flat_map(|curve| &curve.points);
    let span = |values: Vec<f64>| {
        let (low, high) = crate::stats::spread(&values);
        (low / 1.5)..(high * 1.5)
    };
    let area = SVGBackend::new(path, (800, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 20, FontStyle::Normal))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(60)
        .build_cartesian_2d(
            span(all().map(|p| p.0).collect()).log_scale(),
            span(all().map(|p| p.1).collect()).log_scale(),
        )?;
    chart.configure_mesh().x_desc(of).y_desc(unit).draw()?;
    for (index, curve) in curves.iter().enumerate() {
        let colour = Palette99::pick(index).to_rgba();
        chart
            .draw_series(LineSeries::new(curve.points.iter().copied(), &colour).point_size(3))?
            .label(curve.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE)
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()?;
    area.present()?;
    Ok(())
}

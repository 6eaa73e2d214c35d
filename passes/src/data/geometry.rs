//! How pictures of any size become those of a network: the shorter side is resized, the middle is cut out.

use super::DataError;
use image::imageops::{FilterType, resize};
use image::{GenericImageView, ImageBuffer, Pixel};
use releqc_runtime::format::Metadata;

/// `--resize 256 --crop 224`: what is done to pictures before their pixels are read, in this order. The default is nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Geometry {
    /// Pixels that the shorter side gets, the other in proportion, or rows and columns.
    pub resize: Option<Resize>,
    /// Rows and columns of the middle that is kept.
    pub crop: Option<(u32, u32)>,
}

/// The size that a picture is brought to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Resize {
    /// Of the shorter side; the longer one is rounded down.
    Shorter(u32),
    /// Rows and columns, whatever the proportions were.
    Exact(u32, u32),
}

/// Largest side that is resized to or cut out.
const MOST_PIXELS: u32 = 1 << 14;

impl Geometry {
    /// Whether nothing is done.
    pub fn is_none(self) -> bool {
        self == Geometry::default()
    }

    /// Rows and columns that a picture of `height` rows and `width` columns ends with.
    pub(super) fn result(self, height: u32, width: u32) -> (u32, u32) {
        self.crop.unwrap_or_else(|| self.resized(height, width))
    }

    fn resized(self, height: u32, width: u32) -> (u32, u32) {
        let longer = |shorter: u32, long: u32, short: u32| {
            let size = u64::from(shorter) * u64::from(long) / u64::from(short.max(1));
            u32::try_from(size).unwrap_or(u32::MAX)
        };
        match self.resize {
            None => (height, width),
            Some(Resize::Exact(rows, columns)) => (rows, columns),
            Some(Resize::Shorter(side)) if height <= width => (side, longer(side, width, height)),
            Some(Resize::Shorter(side)) => (longer(side, height, width), side),
        }
    }

    /// Resizes bilinearly, where a side shrinks over all pixels that fall into one (as PIL does: up to 1 level apart), and cuts out the middle;
    /// `None` where less than that is left.
    pub(super) fn apply<P: Pixel<Subpixel = u8> + 'static>(
        self,
        picture: ImageBuffer<P, Vec<u8>>,
    ) -> Option<ImageBuffer<P, Vec<u8>>> {
        let (height, width) = self.resized(picture.height(), picture.width());
        if height.max(width) > MOST_PIXELS * 4 || height.min(width) == 0 {
            return None;
        }
        let picture = match (picture.height(), picture.width()) {
            same if same == (height, width) => picture,
            _ => resize(&picture, width, height, FilterType::Triangle),
        };
        let Some((rows, columns)) = self.crop else { return Some(picture) };
        let (spare_rows, spare_columns) = (height.checked_sub(rows)?, width.checked_sub(columns)?);
        // Halves go to the even number, as torchvision's CenterCrop rounds them.
        let middle = |spare: u32| spare / 2 + u32::from(spare % 4 == 3);
        Some(picture.view(middle(spare_columns), middle(spare_rows), columns, rows).to_image())
    }

    /// Refuses sizes that no network takes.
    pub(super) fn check(self) -> Result<(), DataError> {
        let sides = match self.resize {
            Some(Resize::Shorter(side)) => [side, side],
            Some(Resize::Exact(rows, columns)) => [rows, columns],
            None => [1, 1],
        };
        let crop = self.crop.map_or([1, 1], |(rows, columns)| [rows, columns]);
        match [sides, crop].concat().iter().find(|side| !(1..=MOST_PIXELS).contains(*side)) {
            Some(side) => Err(DataError::Preprocessing {
                what: format!("a side of {side} pixels; 1 to {MOST_PIXELS} are required"),
            }),
            None => Ok(()),
        }
    }

    /// Writes it under the keys `preprocessing.resize` and `preprocessing.crop` of an artifact.
    pub fn record(self, metadata: &mut Metadata) {
        if let Some(resize) = self.resize {
            metadata.insert("preprocessing.resize".into(), resize.to_string());
        }
        if let Some((rows, columns)) = self.crop {
            metadata.insert("preprocessing.crop".into(), format!("{rows}x{columns}"));
        }
    }

    /// What [`Geometry::record`] wrote.
    pub fn recorded(metadata: &Metadata) -> Self {
        let text = |key: &str| metadata.get(key).map(String::as_str);
        let crop = text("preprocessing.crop").and_then(|text| match text.parse().ok()? {
            Resize::Shorter(side) => Some((side, side)),
            Resize::Exact(rows, columns) => Some((rows, columns)),
        });
        Geometry { resize: text("preprocessing.resize").and_then(|text| text.parse().ok()), crop }
    }
}

/// `256`, or `224x320` (rows, columns).
impl std::str::FromStr for Resize {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let side = |text: &str| {
            let side = text.trim().parse().ok().filter(|side| (1..=MOST_PIXELS).contains(side));
            side.ok_or_else(|| format!("{text:?}; a side of 1 to {MOST_PIXELS} pixels, or ROWSxCOLUMNS, is required"))
        };
        match text.split_once('x') {
            Some((rows, columns)) => Ok(Resize::Exact(side(rows)?, side(columns)?)),
            None => side(text).map(Resize::Shorter),
        }
    }
}

impl std::fmt::Display for Resize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Resize::Shorter(side) => write!(f, "{side}"),
            Resize::Exact(rows, columns) => write!(f, "{rows}x{columns}"),
        }
    }
}

/// `resized to 256, the middle 224x224`: for reports.
impl std::fmt::Display for Geometry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let resize = self.resize.map(|resize| format!("resized to {resize}"));
        let crop = self.crop.map(|(rows, columns)| format!("the middle {rows}x{columns}"));
        let parts: Vec<String> = resize.into_iter().chain(crop).collect();
        f.write_str(&parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::GrayImage;

    fn geometry(resize: &str, crop: Option<(u32, u32)>) -> Geometry {
        Geometry { resize: Some(resize.parse().unwrap()), crop }
    }

    #[test]
    fn the_shorter_side_is_resized_and_the_middle_kept() {
        assert_eq!(geometry("256", None).result(480, 640), (256, 341));
        assert_eq!(geometry("256", None).result(640, 480), (341, 256));
        assert_eq!(geometry("256", Some((224, 224))).result(640, 480), (224, 224));
        assert_eq!(geometry("20x30", None).result(640, 480), (20, 30));
        let picture = GrayImage::from_fn(8, 6, |x, y| image::Luma([(10 * y + x) as u8]));
        let cut = Geometry { resize: None, crop: Some((3, 3)) }.apply(picture.clone()).unwrap();
        // Spare rows and columns of 3 and 5: offsets 1.5 and 2.5 are rounded to 2.
        assert_eq!(cut.get_pixel(0, 0).0, [22]);
        assert!(Geometry { resize: None, crop: Some((9, 3)) }.apply(picture).is_none());
    }

    /// The values of PIL 13 for `Image.resize((4, 3), BILINEAR)` of the same picture.
    #[test]
    fn shrinking_averages_as_pil_does() {
        let picture = GrayImage::from_fn(8, 6, |x, y| image::Luma([((x * 37 + y * 91) % 256) as u8]));
        let small = geometry("3x4", None).apply(picture).unwrap();
        let pil = PIL_8X6_TO_4X3;
        for (seen, wanted) in small.as_raw().iter().zip(pil) {
            assert!(seen.abs_diff(wanted) <= 1, "{:?} against {pil:?}", small.as_raw());
        }
    }

    const PIL_8X6_TO_4X3: [u8; 12] = [86, 126, 141, 105, 112, 105, 127, 131, 145, 117, 95, 132];

    #[test]
    fn a_record_reads_back() {
        for geometry in [Geometry::default(), geometry("256", Some((224, 192))), geometry("20x30", None)] {
            let mut metadata = Metadata::new();
            geometry.record(&mut metadata);
            assert_eq!(Geometry::recorded(&metadata), geometry);
        }
        assert!(
            "0".parse::<Resize>().is_err() && "3x".parse::<Resize>().is_err() && "99999".parse::<Resize>().is_err()
        );
    }
}

//! Axes as ONNX states them: counted from either end, listed in any order.

use crate::import::error::{Problem, invalid};

/// Axis `value` of a tensor of `rank` axes; a negative one counts from the end.
///
/// # Errors
/// Where the tensor has no such axis.
pub(in crate::import) fn axis(value: i64, rank: usize) -> Result<usize, Problem> {
    let signed = i64::try_from(rank).unwrap_or(i64::MAX);
    let from_start = if value < 0 { value.saturating_add(signed) } else { value };
    match usize::try_from(from_start) {
        Ok(axis) if axis < rank => Ok(axis),
        _ => Err(invalid(format!("axis {value} of a tensor of {rank} axes; it must exist"))),
    }
}

/// The axes of a list, ascending.
///
/// # Errors
/// Where one does not exist or is listed twice.
pub(in crate::import) fn sorted_axes(values: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
    let mut axes = listed_axes(values, rank)?;
    axes.sort_unstable();
    Ok(axes)
}

/// The axes of a list, in its order.
///
/// # Errors
/// Where one does not exist or is listed twice.
pub(in crate::import) fn listed_axes(values: &[i64], rank: usize) -> Result<Vec<usize>, Problem> {
    let axes = values.iter().map(|&value| axis(value, rank)).collect::<Result<Vec<usize>, Problem>>()?;
    if (1..axes.len()).any(|i| axes[..i].contains(&axes[i])) {
        return Err(invalid(format!("axes {values:?} of a tensor of {rank} axes; each may be listed once")));
    }
    Ok(axes)
}

/// An extent or count that a file states.
///
/// # Errors
/// Where it is negative.
pub(in crate::import) fn count(value: i64, what: &str) -> Result<usize, Problem> {
    usize::try_from(value).map_err(|_| invalid(format!("{what} {value}; it must be >= 0")))
}

/// Steps between neighbours of each axis of a dense row-major tensor.
pub(in crate::import) fn strides(dims: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; dims.len()];
    for axis in (1..dims.len()).rev() {
        strides[axis - 1] = strides[axis] * dims[axis];
    }
    strides
}

/// Every position of a tensor of these extents, row-major.
pub(in crate::import) fn positions(dims: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let total: usize = dims.iter().product();
    (0..total).map(|flat| {
        let mut rest = flat;
        let mut position = vec![0; dims.len()];
        for axis in (0..dims.len()).rev() {
            position[axis] = rest % dims[axis];
            rest /= dims[axis];
        }
        position
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_count_from_both_ends() {
        assert_eq!(axis(-1, 4), Ok(3));
        assert_eq!(axis(0, 1), Ok(0));
        assert!(axis(4, 4).is_err() && axis(-5, 4).is_err() && axis(0, 0).is_err() && axis(i64::MIN, 3).is_err());
        assert_eq!(sorted_axes(&[-1, 1], 4), Ok(vec![1, 3]));
        assert!(sorted_axes(&[3, -1], 4).is_err());
    }

    #[test]
    fn positions_are_row_major() {
        assert_eq!(strides(&[2, 3, 4]), [12, 4, 1]);
        let all: Vec<_> = positions(&[2, 2]).collect();
        assert_eq!(all, [[0, 0], [0, 1], [1, 0], [1, 1]]);
        assert_eq!(positions(&[]).count(), 1);
        assert_eq!(positions(&[3, 0]).count(), 0);
    }
}

//! Descriptive statistics, detectors and effect sizes against values worked out by hand.

use judge::descriptive::{Statistics, mean};
use judge::effect_size::{cles, mean_ratio};
use judge::outlier::{Detector, KSigma, Quartiles};
use judge::without_outliers;

#[test]
fn statistics_describe_a_sample() {
    let statistics = Statistics::of(&[2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0]);
    assert_eq!(
        (statistics.min, statistics.max, statistics.mean),
        (2.0, 9.0, 5.0)
    );
    assert_eq!(
        (statistics.std, statistics.count),
        ((32.0_f64 / 7.0).sqrt(), 8)
    );
    assert_eq!(Statistics::of(&[3.0]).std, 0.0);
    assert!(mean(&[]).is_nan());
}

#[test]
fn the_mean_is_corrected_by_a_second_pass() {
    // Summed once, 0.1 ten times is 0.9999999999999999.
    assert_eq!(mean(&[0.1; 10]), 0.1);
}

#[test]
fn quartiles_fence_off_what_lies_beyond_percentile_and_range() {
    let mut values: Vec<f64> = (1..=100).map(f64::from).collect();
    values.push(1000.0);
    let kept = |factor| without_outliers(&values, &Quartiles::new(factor).unwrap());
    // 101 values: the percentiles are the 26th, 76th and 100th, so the fences are max(100, 76 + 50 f) and below 0.
    assert_eq!(kept(3.0), values[..100]);
    assert_eq!(
        kept(0.1),
        values[1..100],
        "the first percentile is the second value"
    );
    assert_eq!(kept(20.0), values);
    assert!(Quartiles::new(0.0).is_err() && Quartiles::new(f64::NAN).is_err());
    let detector = Quartiles::new(1.0).unwrap();
    assert!(detector.detect(&[]).is_empty());
    assert_eq!(detector.detect(&[7.0]), [false]);
    assert_eq!(
        detector.detect(&[1.0, f64::INFINITY, f64::NEG_INFINITY]),
        [false; 3]
    );
}

#[test]
fn percentiles_are_interpolated_between_two_values() {
    // Four values: P75 lies at 3.25, P99 at 3.97. The fence is 3.97 if the range is small.
    let detector = Quartiles::new(1e-9).unwrap();
    assert_eq!(
        detector.detect(&[1.0, 2.0, 3.0, 4.0]),
        [true, false, false, true]
    );
}

#[test]
fn k_sigma_finds_what_is_far_from_the_mean() {
    let mut values = vec![10.0; 20];
    values.extend([11.0, 9.0, 30.0]);
    let outliers = KSigma::new(3.0).unwrap().detect(&values);
    assert_eq!(outliers.iter().filter(|outlier| **outlier).count(), 1);
    assert!(outliers[22]);
    assert!(KSigma::new(0.0).is_none() && KSigma::new(-1.0).is_none());
    // Of two values each is exactly one deviation of the population away: not more.
    assert_eq!(
        KSigma::new(1.0).unwrap().detect(&[1.0, 3.0]),
        [false, false]
    );
}

#[test]
fn a_ratio_of_a_zero_mean_is_none() {
    assert_eq!(mean_ratio(&[2.0], &[3.0]), 1.5);
    assert!(mean_ratio(&[0.0], &[3.0]).is_nan());
    assert!(mean_ratio(&[-1.0, 1.0], &[3.0]).is_nan());
    assert!(mean_ratio(&[2.0], &[0.0]).is_nan());
}

#[test]
fn cles_is_the_share_of_pairs_in_which_the_experiment_is_higher() {
    assert_eq!(cles(&[1.0, 2.0], &[3.0, 4.0]), 1.0);
    assert_eq!(cles(&[3.0, 4.0], &[1.0, 2.0]), 0.0);
    assert_eq!(cles(&[1.0, 2.0], &[1.0, 2.0]), 0.5);
    assert_eq!(cles(&[1.0, 2.0, 2.0], &[2.0]), 4.0 / 6.0);
}

#[test]
fn cles_overflows_where_the_original_does() {
    // 2·n·m of 32 768 values each is 2³¹, which is negative in 32 bits; m(m+1) is not yet.
    let values = |offset: f64| {
        (0..32_768)
            .map(|n| f64::from(n) + offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(cles(&values(0.0), &values(1e6)), -1.0);
    let fewer = |offset: f64| {
        (0..32_767)
            .map(|n| f64::from(n) + offset)
            .collect::<Vec<_>>()
    };
    assert_eq!(cles(&fewer(0.0), &fewer(1e6)), 1.0);
}

//! cloud-driver.

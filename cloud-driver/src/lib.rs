//! cloud-driver.

pub mod provider {
    //! Clouds.
    pub mod local {
        //! This machine.
        pub mod image;
    }
}
pub mod registry;

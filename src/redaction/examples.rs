//! Credentials that everybody may read.
//!
//! Owns [`is_published`]. The idea: some vendors print a working key in their guides, and a guide is no better without
//! it; each is kept as the first eight bytes of its SHA-256, so that no scanner finds it here.
//!
//! Must not: grow beyond what owners have published themselves.

use sha2::{Digest, Sha256};

/// In order. Google's are those of its public samples, Stripe's those of its reference.
const PUBLISHED: &[u64] = &[
    0x0b47_6bdf_9acf_2123,
    0x2037_abca_ffb2_b777,
    0x27a9_a429_31df_f7eb,
    0x2caf_c097_0149_a84f,
    0x37f8_f09b_df12_c2f2,
    0x3a8b_61d0_f636_b007,
    0x3f37_0c9d_d822_5c63,
    0x49f7_77db_995e_8260,
    0x4c98_242d_cadc_8b29,
    0x8731_261c_b72d_8626,
    0xa19f_89ab_3555_eac1,
    0xa6c8_14bc_555a_e62c,
    0xdc0f_cf04_6c61_640c,
    0xe4a5_542b_b7fd_7b67,
    0xea9b_b108_2cf9_5663,
    0xeb54_0d2b_6ee2_a0a4,
    0xf2d6_ca16_5150_33e5,
    0xf56e_3234_94a6_ffc2,
];

/// Whether the owner of this credential has published it for everybody.
pub(super) fn is_published(token: &[u8]) -> bool {
    let digest = Sha256::digest(token);
    digest.first_chunk().is_some_and(|first| PUBLISHED.binary_search(&u64::from_be_bytes(*first)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_in_order_and_nothing_else_is_among_them() {
        assert!(PUBLISHED.is_sorted());
        assert!(!is_published(b"") && !is_published(b"AIzaSyB0123456789abcdefghijklmnopqrstuv"));
    }
}

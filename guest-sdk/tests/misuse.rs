//! Misuse of the attribute and of the API is a compile error that points at the author's code and
//! tells how to correct it. To accept changed texts, run with `TRYBUILD=overwrite` and read the
//! difference.

#[test]
fn misuse_is_explained_where_it_happens() {
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}

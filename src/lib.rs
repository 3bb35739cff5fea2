//! ringway: library façade.

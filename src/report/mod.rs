//! Runs -> one typed view -> charts, grids, page. Reads only what the other commands wrote.

//! `predictions.csv`: for every test image a column a run (class index), then `vote`, `vote_wnid`, `vote_name`,
//! `mean_softmax`, `mean_softmax_wnid`.

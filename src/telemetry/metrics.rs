//! Every metric, registered once. Names and labels are fixed: operators' dashboards hang on them.

//! Events that contradict the table.

//! O2 wire types, SOL013 filters and selectors, and the mapping from the node's resources.

// The files of spec/vectors, in the order in which they are played.
shelf![];

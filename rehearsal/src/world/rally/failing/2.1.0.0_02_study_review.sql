-- A study is reviewed before it recruits.
ALTER TABLE study ADD COLUMN review_state text NOT NULL DEFAULT 'approved';

-- Nobody had asked the data: one volunteer was born in 1911.
ALTER TABLE volunteer ADD CONSTRAINT volunteer_birth_year CHECK (birth_year >= 1920);

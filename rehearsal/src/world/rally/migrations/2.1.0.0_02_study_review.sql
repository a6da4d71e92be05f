-- A study is reviewed before it recruits; those that recruit already have been. The default keeps 2.0.1.11 working.
ALTER TABLE study ADD COLUMN review_state text NOT NULL DEFAULT 'approved';

ALTER TABLE study
    ADD CONSTRAINT study_review_state CHECK (review_state IN ('draft', 'submitted', 'approved'));

CREATE FUNCTION study_stops_recruiting() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.review_state <> 'approved' THEN
        NEW.recruiting := false;
    END IF;
    RETURN NEW;
END;
$$;

CREATE TRIGGER study_review BEFORE UPDATE OF review_state ON study
    FOR EACH ROW EXECUTE FUNCTION study_stops_recruiting();

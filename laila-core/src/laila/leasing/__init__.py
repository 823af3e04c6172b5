"""Leases: who has borrowed what, until when, and how a lease is taken, renewed and given back.

A table keeps one record for each key. Everything is built on one step of the table: replace a record if it is
still the one that was read. So a store that can compare and set can lend.
"""
